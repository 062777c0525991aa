"""Models put to work."""
