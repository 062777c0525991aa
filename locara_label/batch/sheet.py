"""The first pictures of a job with their masks drawn, on one sheet, for a first look."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from locara_label import images, overlay
from locara_label.batch.folder import writing
from locara_label.batch.outputs import Merge, rows
from locara_label.batch.rows import Labelled
from locara_label.errors import BadImage
from locara_label.geometry import resize_bilinear
from locara_label.models.base import Image

PICTURES = 16
_TILE_PX = 320


def write(path: Path, merge: Merge, root: Path, limits: images.Limits = images.DEFAULT_LIMITS) -> int:
    """Writes a PNG of the first labelled pictures, and gives their number; without any of them there is no file.

    Raises:
        BatchError: the file cannot be written.
    """
    labelled = (row for _, row in rows(merge.folder, merge.plan) if isinstance(row, Labelled))
    tiles = [tile for row in islice(labelled, PICTURES) if (tile := _tile(row, merge, root, limits))]
    if tiles:
        with writing(path):
            images.write_png(path, overlay.contact_sheet(tiles, tile_px=_TILE_PX))
    return len(tiles)


def _tile(row: Labelled, merge: Merge, root: Path, limits: images.Limits) -> tuple[Image, str] | None:
    """A small picture and its caption; nothing for a picture that has gone or changed since."""
    try:
        image = images.read(root / row.file_name, limits)
    except BadImage:
        return None
    if image.shape[:2] != row.size:
        return None
    drawn = overlay.draw(image, merge.categories.applied(row.instances)[0])
    scale = _TILE_PX / max(row.size)
    return resize_bilinear(drawn, (max(1, round(row.size[0] * scale)), max(1, round(row.size[1] * scale)))), row.file_name
