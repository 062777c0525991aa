"""The platforms that people label in: their data to our types and back."""
