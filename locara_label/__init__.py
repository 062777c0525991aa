"""Segmentation assistance for people who label data."""
