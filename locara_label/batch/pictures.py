"""The picture of an item, wherever it lies, decoded; or why there is none."""

from __future__ import annotations

from pathlib import Path

from locara_label import images
from locara_label.batch.buckets import Bucket, Place, is_plain
from locara_label.batch.inputs import Item
from locara_label.batch.rows import Failure
from locara_label.errors import BadImage
from locara_label.models.base import Image


def fetch(root: Place, item: Item, limits: images.Limits = images.DEFAULT_LIMITS) -> Image | Failure:
    """RGB uint8 [H, W, 3] of an item below `root`; a Failure for one that cannot be had or changed since it was planned."""
    try:
        return _stored(root, item, limits) if isinstance(root, Bucket) else _local(root / item.file_name, item, limits)
    except Exception as error:  # noqa: BLE001 - one bad picture never ends a job
        return Failure.of(error)


def _local(path: Path, item: Item, limits: images.Limits) -> Image:
    image = images.read(path, limits)
    status = path.stat()
    _check_unchanged((status.st_size, status.st_mtime_ns), item)
    return image


def _stored(root: Bucket, item: Item, limits: images.Limits) -> Image:
    if not is_plain(item.file_name):
        raise BadImage(f"{item.file_name!r:.200} is no name below a folder", code="image.unreadable")
    if item.size > limits.max_bytes:
        raise BadImage(f"the picture has {item.size} bytes, the limit is {limits.max_bytes}", code="image.too_large")
    try:
        # a store refuses to give a part of an object that has no bytes at all
        content = root.read(item.file_name, limits.max_bytes + 1 if item.size > 0 else None)
        _check_unchanged(root.stamp(item.file_name), item)
    except FileNotFoundError as error:
        raise BadImage(f"{root.at(item.file_name)!r} is not there", code="image.missing") from error
    except BadImage:
        raise
    except Exception as error:
        text = f"{root.at(item.file_name)!r} cannot be read: {type(error).__name__}: {error}"
        raise BadImage(text[:400], code="image.unreadable") from error
    return images.read(content, limits)


def _check_unchanged(stamp: tuple[int, int], item: Item) -> None:
    if stamp != (item.size, item.mtime_ns):
        raise BadImage("the picture changed after the job was planned", code="image.changed")
