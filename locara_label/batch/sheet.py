"""The first pictures of a job with their masks drawn, on one sheet, for a first look."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from locara_label import images, overlay
from locara_label.batch.buckets import Place
from locara_label.batch.folder import writing
from locara_label.batch.inputs import Item
from locara_label.batch.outputs import Merge, rows
from locara_label.batch.pictures import fetch
from locara_label.batch.rows import Failure, Labelled
from locara_label.geometry import resize_bilinear
from locara_label.models.base import Image

PICTURES = 16
_TILE_PX = 320


def write(path: Path, merge: Merge, root: Place, limits: images.Limits = images.DEFAULT_LIMITS) -> int:
    """Writes a PNG of the first labelled pictures, and gives their number; without any of them there is no file.

    Raises:
        BatchError: the file cannot be written.
    """
    items = merge.plan.items
    labelled = ((items[place], row) for place, row in rows(merge.folder, merge.plan) if isinstance(row, Labelled))
    tiles = [tile for item, row in islice(labelled, PICTURES) if (tile := _tile(item, row, merge, fetch(root, item, limits)))]
    if tiles:
        with writing(path):
            images.write_png(path, overlay.contact_sheet(tiles, tile_px=_TILE_PX))
    return len(tiles)


def _tile(item: Item, row: Labelled, merge: Merge, image: Image | Failure) -> tuple[Image, str] | None:
    """A small picture and its caption; nothing for a picture that has gone or changed since."""
    if isinstance(image, Failure) or image.shape[:2] != row.size:
        return None
    drawn = overlay.draw(image, merge.categories.applied(row.instances)[0])
    scale = _TILE_PX / max(row.size)
    small = resize_bilinear(drawn, (max(1, round(row.size[0] * scale)), max(1, round(row.size[1] * scale))))
    return small, item.file_name
