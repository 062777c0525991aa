"""Model weights: the catalogue of known models and the store that downloads, checks and keeps their files."""
