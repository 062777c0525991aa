"""Which container a file is, by its first bytes.

The demuxer is named to FFmpeg by what is found here and never guessed by FFmpeg, whose guesses include playlists, scripts of
files to join, and devices.
"""

from __future__ import annotations

HEAD_BYTES = 600
CODECS = (
    "av1", "libdav1d", "dnxhd", "ffv1", "gif", "h263", "h264", "hevc", "mjpeg", "mpeg1video", "mpeg2video", "mpeg4",
    "msmpeg4", "msmpeg4v2", "png", "prores", "rawvideo", "theora", "vp8", "vp9",
)  # fmt: skip
"""Decoders that may run, as FFmpeg calls them. H.264 in MP4 and VP9 in WebM are what browsers play."""

_BOXES = {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"styp"}
_TS_PACKETS = {"mpegts": (0, 188), "m2ts": (4, 192)}


def container(head: bytes) -> str | None:
    """FFmpeg's name of the demuxer for a file that begins with these `HEAD_BYTES` bytes; None for all that is not allowed."""
    if head[4:8] in _BOXES:
        return "mov"
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return "matroska"
    if head.startswith(b"RIFF") and head[8:12] == b"AVI ":
        return "avi"
    if head.startswith(b"OggS"):
        return "ogg"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    return "mpegts" if any(_in_step(head, *packets) for packets in _TS_PACKETS.values()) else None


def _in_step(head: bytes, first: int, length: int) -> bool:
    """Whether each packet of a transport stream begins with its mark; at least two do."""
    marks = head[first::length]
    return len(marks) >= 2 and set(marks) == {0x47}
