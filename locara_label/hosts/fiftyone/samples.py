"""Samples: how large their pictures are, their pixels, and who else is told about them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import fiftyone as fo
import fiftyone.core.collections as foc
import fiftyone.core.media as fomm
from pymongo.errors import PyMongoError

from locara_label import images
from locara_label.errors import BadOption, RunError
from locara_label.hosts.fiftyone.labels import Size
from locara_label.images import Limits
from locara_label.models.base import Image

FRAMES = "frames."


def size_of(sample: Any) -> Size:
    """Height and width in pixels, upright: as the sample's metadata says, else as its file does.

    Raises:
        BadImage: the file is none.
    """
    known = sample.metadata
    if known is not None and getattr(known, "height", None) and getattr(known, "width", None):
        return int(known.height), int(known.width)
    header = images.probe(sample.filepath)
    return header.height, header.width


def picture_of(sample: Any, limits: Limits = images.DEFAULT_LIMITS) -> Image:
    """RGB uint8 [H, W, 3], upright.

    Raises:
        BadImage: the file is none, or larger than the limits.
    """
    return images.read(sample.filepath, limits)


def dataset_of(view: foc.SampleCollection) -> fo.Dataset:
    """The data set that a view is of."""
    return view._dataset  # noqa: SLF001 - views have no public way to it


def check_media(view: foc.SampleCollection, media_type: str) -> None:
    """Refuses samples of another kind, and views of patches, frames or clips, whose samples are made up.

    An empty data set is of any kind.

    Raises:
        BadOption: code `option.media_type` or `option.view`.
    """
    found = view.media_type
    if dataset_of(view)._is_generated:  # noqa: SLF001 - there is no public way to ask
        raise BadOption("this works on whole samples, not on patches, frames or clips of them", code="option.view")
    if found not in (None, media_type):
        raise BadOption(f"this works on {media_type} samples; these are of the kind {found!r}", code="option.media_type")


def check_field(name: str, media_type: str = fomm.IMAGE) -> str:
    """A field name without the "frames." that video labels may have in front.

    Raises:
        BadOption: code `option.field`; not a name that a new field can have.
    """
    bare = name.removeprefix(FRAMES) if media_type == fomm.VIDEO else name
    if not bare.isidentifier() or bare.startswith("_") or bare in {"id", "filepath", "metadata", "tags", "frames", "media_type"}:
        raise BadOption(f"a field is named with letters, digits and underscores, got {name!r:.120}", code="option.field")
    return bare


def in_batches(view: foc.SampleCollection, fields: Iterable[str], at_a_time: int = 64) -> Iterator[Any]:
    """All samples of a view, by their ids: what is done to one moves none of the others, and no cursor stays open for long.

    Samples have `fields` and the default ones; others cost no memory. One that was deleted meanwhile is left out.

    Raises:
        RunError: see `database`.
    """
    with database():
        ids, source = view.values("id"), dataset_of(view)
    schema = {**source.get_field_schema(), **{FRAMES + name: None for name in source.get_frame_field_schema() or {}}}
    wanted = [name for name in fields if name in schema]
    for start in range(0, len(ids), at_a_time):
        with database():
            found = list(source.select(ids[start : start + at_a_time], ordered=True).select_fields(wanted))
        yield from found


@contextmanager
def database() -> Iterator[None]:
    """Whatever the database raises leaves as a RunError with code `run.database`."""
    try:
        yield
    except PyMongoError as error:
        reason = str(error).partition(", Timeout:")[0]
        raise RunError(f"FiftyOne's database failed: {reason:.300}", code="run.database") from error


def common_root(paths: Iterable[str]) -> str:
    """The folder that all files are in."""
    folders = {os.path.dirname(path) for path in paths}  # noqa: PTH120 - a million paths
    return os.path.commonpath(folders) if folders else ""
