"""Hostile and broken videos, made from a seed, against the decoding process.

    python -m tests.hostile.videos --count 300 [--seed 0] [--verbose]

The bar: this process survives and does not grow by more than 400 MB, each answer is a sound `Video` or a coded error of the
tree, no case takes more than 30 s by its own limit (a watchdog at 120 s ends the run), no decoding process is left over, and
none used more than 2 GB. Prints a summary as JSON; exit status 1 when any of it does not hold.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from locara_label.errors import BadVideo
from locara_label.video.limits import VideoLimits
from locara_label.video.opening import open_video_file
from tests.hostile.judging import Summary
from tests.hostile.mutate import MUTATIONS, png
from tests.peak_memory import peak_rss_bytes, peak_rss_of_children_bytes
from tests.video.numbered import write_clip

LIMITS = VideoLimits(max_seconds=10)
MAX_SECONDS = 30.0
MAX_OWN_RSS_BYTES = 400_000_000
MAX_CHILD_RSS_BYTES = 2_000_000_000
LOOKED_AT = 12
_REFUSALS = (
    "missing unreadable empty too_large unknown_format unsupported no_frames too_many_frames too_many_pixels corrupt too_slow "
    "no_memory crashed frame sizes"
)
CODES = {f"video.{name}" for name in _REFUSALS.split(" ")}
Write = Callable[[Path], Path]


@dataclass(frozen=True, eq=False)
class Case:
    """`write` makes the file in a folder of its own and gives its path."""

    name: str
    write: Write


def sound(folder: Path) -> dict[str, bytes]:
    """One small clip in each container, to be damaged."""
    options, fast = {"g": "8", "bf": "2"}, {"movflags": "+faststart"}
    paths = [
        write_clip(folder / "fast.mp4", 24, options=options, muxing=fast),
        write_clip(folder / "late.mp4", 24, options=options),
        write_clip(folder / "pieces.mp4", 24, options=options, muxing={"movflags": "frag_keyframe+empty_moov"}),
        write_clip(folder / "h264.mkv", 24, options=options),
        write_clip(folder / "h264.ts", 24, options=options),
        write_clip(folder / "mpeg4.avi", 24, codec="mpeg4", options=options),
        write_clip(folder / "mjpeg.avi", 24, codec="mjpeg", pix_fmt="yuvj420p"),
        write_clip(folder / "vp9.webm", 24, codec="libvpx-vp9", options={"g": "8", "deadline": "realtime", "cpu-used": "8"}),
        write_clip(folder / "vp8.ogg", 24, codec="libvpx", options={"g": "8", "deadline": "realtime", "cpu-used": "8"}),
        write_clip(folder / "pictures.gif", 24, codec="gif", pix_fmt="rgb8"),
        write_clip(folder / "lossless.mkv", 24, codec="ffv1", pix_fmt="yuv444p"),
    ]
    joined = {f"joined.{kind}": _joined(folder, kind) for kind in ("ts", "mkv")}
    return {path.name: path.read_bytes() for path in paths} | joined


def _file(data: Callable[[], bytes], name: str = "case.mp4") -> Write:
    def write(folder: Path) -> Path:
        path = folder / name
        path.write_bytes(data())
        return path

    return write


def _sparse(size: int) -> Write:
    def write(folder: Path) -> Path:
        path = folder / "sparse.mp4"
        with path.open("wb") as file:
            file.write(box(b"ftyp", b"isom") + b"\0\0\0\1mdat")
            file.truncate(size)
        return path

    return write


def box(kind: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">L", len(body) + 8) + kind + body


def _changed(data: bytes, old: bytes, offset: int, new: bytes) -> bytes:
    """Bytes written over what lies `offset` after the first `old`."""
    at = data.index(old) + offset
    return data[:at] + new + data[at + len(new) :]


def _deep(levels: int) -> bytes:
    body = b""
    for _ in range(levels):
        body = box(b"moov", body)
    return box(b"ftyp", b"isom") + body


def _many_samples(data: bytes) -> bytes:
    """An MP4 whose table promises four thousand million samples of one byte."""
    return _changed(data, b"stsz", 8, struct.pack(">LL", 1, 0xFFFFFFFF))


def _avi_index_bomb(data: bytes, entries: int) -> bytes:
    """An AVI with an index of millions of entries that all name one frame."""
    at = data.index(b"movi")
    entry = b"00dc" + struct.pack("<LLL", 16, 4, 2000)
    size = struct.pack("<L", len(entry) * entries)
    return data[: data.index(b"idx1", at)] + b"idx1" + size + entry * entries


def _gif(width: int, height: int, frames: int) -> bytes:
    head = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6)
    one = b"!\xf9\x04\0\1\0\0\0" + b"," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\2\2D\1\0"
    return head + one * frames + b";"


def _joined(folder: Path, kind: str) -> bytes:
    """A clip whose picture changes its size in the middle, twice."""
    options = {"g": "8", "bf": "0"}
    sizes = ((96, 128), (64, 64), (480, 640))
    paths = [write_clip(folder / f"{number}.{kind}", 12, size=size, options=options) for number, size in enumerate(sizes)]
    return b"".join(path.read_bytes() for path in paths)


def _growing(data: bytes) -> Write:
    """A file without an end: whatever is read, more has come meanwhile, for as long as anybody looks at it."""

    def grow(path: Path) -> None:
        with path.open("ab", 0) as file:
            while path.exists() and file.tell() < 1 << 30:
                file.write(data * 50)
                time.sleep(0.001)

    def write(folder: Path) -> Path:
        path = folder / "growing.ts"
        path.write_bytes(data)
        threading.Thread(target=grow, args=(path,), daemon=True).start()
        return path

    return write


def _link(to: str) -> Write:
    def write(folder: Path) -> Path:
        path = folder / "link.mp4"
        path.symlink_to(path if to == "itself" else to)
        return path

    return write


def _fifo(folder: Path) -> Path:
    os.mkfifo(folder / "pipe.mp4")
    return folder / "pipe.mp4"


def _empty_folder(folder: Path) -> Path:
    (folder / "frames").mkdir()
    return folder / "frames"


def _folder_of(files: dict[str, bytes]) -> Write:
    def write(folder: Path) -> Path:
        for name, data in files.items():
            (folder / name).write_bytes(data)
        return folder

    return write


def _playlists(secret: str) -> dict[str, bytes]:
    return {
        "hls": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{secret}\n#EXT-X-ENDLIST\n".encode(),
        "hls over http": b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/secret.ts\n",
        "concat": f"ffconcat version 1.0\nfile {secret}\n".encode(),
        "dash": f'<?xml version="1.0"?><MPD><Period><BaseURL>file://{secret}</BaseURL></Period></MPD>'.encode(),
        "sdp": b"v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\n",
        "smil": f'<smil><body><video src="{secret}"/></body></smil>'.encode(),
    }


def bombs(clips: dict[str, bytes]) -> dict[str, Write]:
    """Cases made by hand."""
    fast, avi, mkv = clips["fast.mp4"], clips["mjpeg.avi"], clips["h264.mkv"]
    head = box(b"ftyp", b"isom\0\0\2\0isomiso2")
    playlists = _playlists("/etc/hostname")
    cases = {f"playlist {name}": _file(lambda data=data: data, "list.m3u8") for name, data in playlists.items()}
    cases |= {f"playlist {name} in a movie box": _file(lambda data=data: head + data) for name, data in playlists.items()}
    huge = struct.pack(">HH", 0xFFFF, 0xFFFF)
    return cases | {
        "empty": _file(lambda: b""),
        "one byte": _file(lambda: b"\0"),
        "text": _file(lambda: b"just a note, no video\n" * 40),
        "html": _file(lambda: b"<!doctype html><html><body>Please sign in</body></html>"),
        "zeros": _file(lambda: bytes(1 << 20)),
        "noise": _file(lambda: random.Random(0).randbytes(1 << 18)),
        "picture": _file(lambda: png(8, 8)),
        "elf": _file(lambda: b"\x7fELF\x02\x01\x01" + bytes(400)),
        "only a header": _file(lambda: head),
        "moov of nothing": _file(lambda: head + box(b"moov")),
        "30,000 boxes deep": _file(lambda: _deep(30_000)),
        "a million empty boxes": _file(lambda: head + box(b"free") * 1_000_000),
        "a box of no length": _file(lambda: head + struct.pack(">L", 4) + b"moov" + bytes(64)),
        "mp4 of four thousand million samples": _file(lambda: _many_samples(fast)),
        "mp4 of 65535 x 65535 by its table": _file(lambda: _changed(fast, b"avc1", 28, huge)),
        "mp4 whose clock has no ticks": _file(lambda: _changed(fast, b"mdhd", 16, bytes(4))),
        "mp4 whose clock runs wild": _file(lambda: _changed(fast, b"mdhd", 16, b"\xff\xff\xff\xff")),
        "mp4 whose frames all come at once": _file(lambda: _changed(fast, b"stts", 16, bytes(4))),
        "mp4 whose frames come ages apart": _file(lambda: _changed(fast, b"stts", 16, b"\x7f\xff\xff\xff")),
        "mp4 of frames without end": _file(lambda: fast + b"\0\0\0\0mdat" + bytes(1 << 16)),
        "avi index bomb": _file(lambda: _avi_index_bomb(avi, 2_000_000), "case.avi"),
        "avi of 32767 x 32767": _file(lambda: _changed(avi, b"strf", 12, struct.pack("<LL", 0x7FFF, 0x7FFF)), "case.avi"),
        "mkv cut in its header": _file(lambda: mkv[:60], "case.mkv"),
        "mkv of unknown size": _file(lambda: _changed(mkv, b"\x18\x53\x80\x67", 4, b"\1" + b"\xff" * 7), "case.mkv"),
        "gif of 65535 x 65535": _file(lambda: _gif(65535, 65535, 4), "case.gif"),
        "gif of 100,000 frames": _file(lambda: _gif(8, 8, 100_000), "case.gif"),
        "transport stream of nothing": _file(lambda: (b"\x47" + bytes(187)) * 20_000, "case.ts"),
        "transport stream of noise": _file(_noisy_stream, "case.ts"),
        "ogg pages of nothing": _file(lambda: (b"OggS" + bytes(23)) * 20_000, "case.ogg"),
        "sparse file of 1 TB": _sparse(1 << 40),
        "sparse file of 1 GB": _sparse(1 << 30),
        "transport stream that changes its size": _file(lambda: clips["joined.ts"], "case.ts"),
        "transport stream of 200 changes of size": _file(lambda: clips["joined.ts"] * 67, "case.ts"),
        "matroska that changes its size": _file(lambda: clips["joined.mkv"], "case.mkv"),
        "transport stream that grows while it is read": _growing(clips["h264.ts"]),
        "link to a password file": _link("/etc/passwd"),
        "link to an endless device": _link("/dev/zero"),
        "link to itself": _link("itself"),
        "link to nothing": _link("/nowhere/at/all.mp4"),
        "pipe": _fifo,
        "folder of nothing": _empty_folder,
        "folder of unequal frames": _folder_of({"1.png": _whole_png(8, 8), "2.png": _whole_png(9, 8)}),
        "folder of a broken frame": _folder_of({"1.png": _whole_png(8, 8), "2.png": b"no picture"}),
        "folder of a giant frame": _folder_of({"1.png": png(60_000, 60_000)}),
    }


def _noisy_stream() -> bytes:
    chance = random.Random(1)
    return b"".join(b"\x47" + chance.randbytes(187) for _ in range(4000))


def _whole_png(width: int, height: int) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (width, height)).save(buffer, "PNG")
    return buffer.getvalue()


def cases(count: int, seed: int = 0, first: int = 0) -> Iterator[Case]:
    """Bombs first, then mutations; the same for the same arguments."""
    with tempfile.TemporaryDirectory() as folder:
        clips = sound(Path(folder))
    made, stop = bombs(clips), first + count
    yield from (Case(name, made[name]) for name in list(made)[first:stop])
    for number in range(max(first - len(made), 0), stop - len(made)):
        chance = random.Random(f"{seed} {number}")
        name = chance.choice(sorted(clips))
        changes = [chance.choice(MUTATIONS) for _ in range(chance.choice((1, 1, 1, 4)))]
        data = clips[name]
        for change in changes:
            data = change(data, chance) or b"\0"
        words = " ".join(change.__name__[1:] for change in changes)
        yield Case(f"{number}: {words} of {name}", _file(lambda data=data: data, Path(name).name))


def outcome(path: Path) -> str:
    """'opened', 'damaged' or the code of the refusal; an AssertionError or any foreign error is a violation."""
    try:
        with open_video_file(path, LIMITS) as video:
            _look(video.frames(0, LOOKED_AT), (*video.size, 3))
            _look(video.frames(None, -LOOKED_AT - 1, -1), (*video.size, 3))
            video.frame(video.count // 2)
            assert len(video.times_s) == video.count
            assert np.all(np.diff(video.times_s) > 0)
            assert video.duration_s > 0
            return "damaged" if video.damaged else "opened"
    except BadVideo as error:
        return error.code if error.message else "no message"


def _look(pictures: Iterator[np.ndarray], shape: tuple[int, ...]) -> None:
    for picture in pictures:
        assert picture.shape == shape
        assert picture.dtype == np.uint8


def run(many: Iterator[Case], *, verbose: bool = False) -> Summary:
    summary, before = Summary(), children()
    # What the process took before is nobody's fault here, and a child counts as its parent until it is itself.
    own = peak_rss_bytes() + MAX_OWN_RSS_BYTES
    decoders = max(own, peak_rss_of_children_bytes(), MAX_CHILD_RSS_BYTES)
    for case in many:
        with tempfile.TemporaryDirectory() as folder:
            path = case.write(Path(folder))
            summary.judge(case.name, lambda path=path: _known(outcome(path)), MAX_SECONDS, time.monotonic)
        if verbose:
            print(case.name, dict(summary.outcomes), file=sys.stderr, flush=True)
    if children() - before:
        summary.violations.append("a decoding process is left over")
    if peak_rss_bytes() > own or peak_rss_of_children_bytes() > decoders:
        summary.violations.append("too much memory")
    return summary


def children() -> set[int]:
    """Processes of this one, also those that ended and were not waited for."""
    return {int(pid) for path in Path("/proc/self/task").glob("*/children") for pid in path.read_text().split()}


def _known(came: str) -> str:
    assert came in CODES | {"opened", "damaged"}, came
    return came


def part(numbers: range) -> Summary:
    """The cases of some numbers."""
    summary = run(cases(len(numbers), 0, numbers.start))
    summary.measured("peak_rss_mb", peak_rss_bytes() / 1e6)
    summary.measured("peak_rss_of_decoders_mb", peak_rss_of_children_bytes() / 1e6)
    return summary


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--verbose", action="store_true", help="name each case after it ran")
    options = parser.parse_args(arguments)
    summary = run(cases(options.count, options.seed), verbose=options.verbose)
    decoders = {"peak_rss_of_decoders_mb": peak_rss_of_children_bytes() // 1_000_000}
    print(json.dumps(summary.to_json() | decoders, indent=1))
    return 1 if summary.violations else 0


if __name__ == "__main__":
    sys.exit(main())
