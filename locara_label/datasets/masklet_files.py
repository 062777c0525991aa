"""What every format of masklets offers: videos one at a time, in and out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

from locara_label.datasets import losses
from locara_label.datasets.fields import Fields, is_number
from locara_label.datasets.masklets import MaskletVideo
from locara_label.datasets.notes import Notes
from locara_label.datasets.records import Category, Problem
from locara_label.errors import BadDataset, InputError


class MaskletSource(ABC):
    """A data set that is read one video at a time, in the same order each time.

    Attributes:
        categories: by id.
        info: of the data set; empty when the format has none.
        notes: what was read and is not what the file says, so far.
    """

    def __init__(self) -> None:
        self.categories: Mapping[int, Category] = {}
        self.info: Mapping[str, Any] = {}
        self.notes = Notes()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:  # noqa: B027 - most formats hold nothing
        """Gives back what was held."""

    @abstractmethod
    def places(self) -> Iterator[Hashable]:
        """Where each video is, in the words of the format."""

    @abstractmethod
    def load(self, place: Any) -> MaskletVideo | None:
        """The video at a place, checked; None (and a note) where the format cannot tell its size.

        Raises:
            BadDataset: with the place in its message.
            BadMask: likewise.
        """

    def videos(self) -> Iterator[MaskletVideo]:
        """All videos.

        Raises:
            BadDataset: the first thing that is wrong.
            BadMask: likewise.
        """
        for place in self.places():
            video = self.load(place)
            if video is not None:
                yield video

    def checked(self) -> Iterator[MaskletVideo | Problem]:
        """All videos, with the first thing that is wrong in place of each one that cannot be read."""
        for place in self.places():
            try:
                video = self.load(place)
            except InputError as error:
                where, _, message = error.message.partition(": ")
                yield Problem(where, error.code, message)
                continue
            if video is not None:
                yield video


class MaskletWriter(ABC):
    """Writes a data set that appears whole at the end of a `with` block, or not at all.

    Attributes:
        path: of what is written.
        CANNOT: codes of `notes.TEXTS` that say what the format has no place for.
        notes: what could not be kept so far.
    """

    CANNOT: ClassVar[tuple[str, ...]] = ()

    def __init__(self, path: Path, categories: Sequence[Category], info: Mapping[str, Any] | None = None) -> None:
        self.path = path
        self.notes = losses.of_categories(categories, self.CANNOT)
        self.notes.add("dataset.info", bool(info) and "dataset.info" in self.CANNOT)

    @abstractmethod
    def __enter__(self) -> Self: ...

    @abstractmethod
    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...

    def add(self, video: MaskletVideo) -> None:
        """Appends a video.

        Raises:
            BadDataset: the video is none, or one that the format has no way to write.
            BadMask: a mask is none, or not of the video's size.
        """
        video.check()
        self._write(video)
        self.notes.update(self.losses(video))

    @classmethod
    def losses(cls, video: MaskletVideo) -> Notes:
        """What the format cannot keep of a video."""
        return losses.of_video(video, cls.CANNOT)

    @abstractmethod
    def _write(self, video: MaskletVideo) -> None: ...


def score_in(value: Any) -> float | None:
    """A score in 0..1 or None; `BadDataset` with code `score.range` for anything else."""
    if value is None:
        return None
    if not is_number(value) or not 0 <= value <= 1:
        raise BadDataset(f"score is not in 0..1: {value!r:.80}", code="score.range")
    return float(value)


def score_list(value: Any, length: int) -> tuple[float | None, ...] | None:
    """One score or None per annotated frame; None when there is no list."""
    return None if value is None else tuple(map(score_in, listed(value, "scores", length)))


def listed(value: Any, name: str, length: int, code: str = "track.length") -> list[Any]:
    """A list of this length, else `BadDataset` with this code."""
    if not isinstance(value, list) or len(value) != length:
        found = f"{len(value)} long" if isinstance(value, list) else f"{value!r:.80}"
        raise BadDataset(f"{name} is not a list of {length}: {found}", code=code)
    return value


def plain(row: Fields) -> Mapping[str, Any]:
    """The object under `meta`; empty when there is none, `BadDataset` with code `video.meta` when it is no object."""
    meta = row.get("meta")
    if meta is None:
        return {}
    if not isinstance(meta, dict):
        raise BadDataset(f"meta is not an object: {meta!r:.80}", code="video.meta")
    return meta
