"""A stand-in for label-studio-ml 2.x, which no package index has: what its documentation and sources say that it does."""
