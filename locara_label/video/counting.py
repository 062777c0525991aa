"""The index of a file: packets where they can be trusted, decoded frames where they cannot; runs in the decoding process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

from locara_label.errors import BadVideo
from locara_label.video.indexing import HEAD_FRAMES, MARKED, NO_TIME, Index, Packets, scan, too_many
from locara_label.video.limits import VideoLimits
from locara_label.video.reading import Reader
from locara_label.video.timeline import check_ticks

_OPEN_ENDED = {"mpegts", "ogg", "avi", "gif"}
"""Containers that do not say how many frames they hold, or say it without effect."""


def index(reader: Reader, limits: VideoLimits, shortage: str | None) -> tuple[Index, Any]:
    """The index of an open file and its first decoded frame.

    The first frames are decoded and compared with what the packets promise; where they differ, everything is decoded. The
    last keyframe's frames are decoded too where the end may be damaged, and those that cannot be are left out.

    Args:
        reader: at the beginning of its file.
        limits: for the number of frames.
        shortage: what the file is known to lack, in words.

    Raises:
        BadVideo: video.no_frames or video.too_many_frames.
    """
    found = scan(reader.packets(), reader.codec, limits)
    ended, reader.trouble = reader.trouble, None
    promised = reader.stream.frames
    trusted, first = _from_packets(reader, found)
    built = trusted or _from_frames(reader, found, limits)
    if trusted and (shortage or ended or found.doubts or reader.kind in _OPEN_ENDED or promised > len(found.ticks)):
        built = _with_sound_tail(reader, trusted)
    lacks = [shortage, ended, MARKED if MARKED in found.doubts else None, built.damage]
    damage = "; ".join(text for text in lacks if text) or None
    return replace(built, damage=damage), first or _first(reader)


def _first(reader: Reader) -> Any:
    reader.reopen()
    frame = next(reader.decoded(reader.packets()), None)
    if frame is None:
        raise BadVideo(f"no frame of the video can be decoded{_because(reader)}", code="video.no_frames")
    return frame


def _because(reader: Reader) -> str:
    return f": {reader.trouble}" if reader.trouble else ""


def _from_packets(reader: Reader, found: Packets) -> tuple[Index | None, Any]:
    ticks = sorted(found.ticks)
    if NO_TIME in found.doubts or not ticks or not check_ticks(ticks) or not found.starts:
        return None, None
    starts = sorted(found.starts, key=lambda start: start.tick)
    frames = list(islice(reader.decoded(reader.from_start(found.starts[0])), HEAD_FRAMES))
    whole = [frame.pts for frame in frames if found.torn is None or frame.pts != found.torn]
    if whole != ticks[: len(whole)] or len(whole) < min(len(ticks), HEAD_FRAMES - 1):
        return None, None
    return Index(tuple(ticks), tuple(starts), found.last), frames[0]


def _from_frames(reader: Reader, found: Packets, limits: VideoLimits) -> Index:
    reader.reopen()
    decoded = map(key, reader.decoded(reader.packets()))
    keys = list(islice((tick for tick in decoded if tick is None or tick != found.torn), limits.max_frames + 1))
    if len(keys) > limits.max_frames:
        raise too_many(limits)
    if not keys:
        raise BadVideo(f"no frame of the video can be decoded{_because(reader)}", code="video.no_frames")
    ticks = tuple(tick for tick in keys if tick is not None)
    lost = len(found.ticks) - len(keys)
    damage = f"{lost} of {len(found.ticks)} frames cannot be decoded{_because(reader)}" if lost > 0 and reader.trouble else None
    if len(ticks) == len(keys) and check_ticks(ticks):
        starts = tuple(sorted(found.starts, key=lambda start: start.tick))
        return Index(ticks, starts, found.last, damage, decoded=True)
    unclear = None if reader.kind == "avi" else "times do not ascend: frames follow each other at the stated rate"
    texts = "; ".join(text for text in (damage, unclear) if text)
    return Index(tuple(range(len(keys))), (), 1, texts or None, decoded=True, counted=True)


def key(frame: Any) -> int | None:
    """What tells a decoded frame from the others of its file."""
    tick: int | None = frame.dts if frame.pts is None else frame.pts
    return tick


def _with_sound_tail(reader: Reader, built: Index) -> Index:
    start = built.starts[-1]
    tail = [tick for tick in built.ticks if tick >= start.tick]
    there = set(map(key, _whole(reader.decoded(reader.from_start(start)))))
    sound = [tick for tick in tail if tick in there]
    if len(sound) == len(tail):
        return built
    kept = built.ticks[: len(built.ticks) - len(tail)] + tuple(sound)
    if not kept:
        raise BadVideo(f"no frame of the video can be decoded{_because(reader)}", code="video.no_frames")
    starts = built.starts if sound else built.starts[:-1]
    return replace(built, ticks=kept, starts=starts, damage=f"{len(tail) - len(sound)} of the last frames cannot be decoded")


def _whole(frames: Iterator[Any]) -> Iterator[Any]:
    return (frame for frame in frames if not frame.is_corrupt)
