"""Data sets on disk: COCO instances, COCO panoptic, semantic PNGs, and the check that says what is wrong with a file."""
