"""Whether a file ends where its container says that it does; reads a few bytes at known places, and decodes nothing."""

from __future__ import annotations

import os
from collections.abc import Callable

_MAX_BOXES = 100_000
_TS_PACKETS = (188, 192)


def shortage(descriptor: int, kind: str) -> str | None:
    """What a file of this container lacks at its end, in words; None where nothing is missing or nothing can be said."""
    size = os.fstat(descriptor).st_size
    return _CHECKS[kind](descriptor, size)


def _of(end: int, size: int) -> str | None:
    return f"the file ends after {size} of {end} bytes" if end > size else None


def _mov(descriptor: int, size: int) -> str | None:
    at = 0
    for _ in range(_MAX_BOXES):
        head = os.pread(descriptor, 16, at)
        if len(head) < 8:
            break
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if length < 8:  # 0 reaches to the end of the file, less is no box
            break
        at += length
    return _of(at, size)


def _avi(descriptor: int, size: int) -> str | None:
    return _of(int.from_bytes(os.pread(descriptor, 4, 4), "little") + 8, size)


def _matroska(descriptor: int, size: int) -> str | None:
    """The header element, then the segment, whose size may be unknown."""
    head = os.pread(descriptor, 4096, 0)
    header, at = _number(head, 4)
    at += header or 0
    if header is None or head[at : at + 4] != b"\x18\x53\x80\x67":
        return None
    segment, at = _number(head, at + 4)
    return None if segment is None else _of(at + segment, size)


def _number(data: bytes, at: int) -> tuple[int | None, int]:
    """An EBML number and the place after it; None for one that means "unknown"."""
    if at >= len(data) or not data[at]:
        return None, at
    length = 9 - data[at].bit_length()
    value = int.from_bytes(data[at : at + length], "big") & ((1 << 7 * length) - 1)
    return (None if value == (1 << 7 * length) - 1 else value), at + length


def _ogg(descriptor: int, size: int) -> str | None:
    tail = os.pread(descriptor, 1 << 17, max(0, size - (1 << 17)))
    page = tail.rfind(b"OggS")
    closed = page >= 0 and len(tail) > page + 5 and bool(tail[page + 5] & 4)
    return None if closed else "the last page of the file is missing"


def _gif(descriptor: int, size: int) -> str | None:
    return None if b"\x3b" in os.pread(descriptor, 64, max(0, size - 64)) else "the file has no end mark"


def _mpegts(_: int, size: int) -> str | None:
    return None if any(size % packet == 0 for packet in _TS_PACKETS) else "the file ends inside a packet"


_CHECKS: dict[str, Callable[[int, int], str | None]] = {
    "mov": _mov, "avi": _avi, "matroska": _matroska, "ogg": _ogg, "gif": _gif, "mpegts": _mpegts,
}  # fmt: skip
