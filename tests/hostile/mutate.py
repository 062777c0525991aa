"""Hostile pictures, made from a seed, against the one decoder.

    python -m tests.hostile.mutate --count 2000 [--seed 0] [--verbose]

The bar: no crash, no case over 5 s of processor time (120 s by the clock end the run), each answer an upright RGB picture or
a BadImage with a known code, peak memory of the process up to 1.5 GB. Prints a summary as JSON; exit status 1 when any of it
does not hold.
"""

import argparse
import io
import json
import random
import struct
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fixtures.make_pictures import exif, make_pictures, quarters, ramp, tiff
from locara_label import images
from locara_label.errors import BadImage
from tests.hostile.judging import Summary
from tests.peak_memory import peak_rss_bytes

MAX_SECONDS = 5.0
MAX_RSS_BYTES = 1_500_000_000
_REFUSALS = "missing unreadable too_large too_many_pixels empty unknown_format unsupported truncated corrupt no_memory"
CODES = {f"image.{name}" for name in _REFUSALS.split(" ")}
EXTREMES = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x80\0\0\0", b"\0\0\0\x80", b"\0\1\0\0")


@dataclass(frozen=True, eq=False)
class Case:
    name: str
    data: bytes
    suffix: str = ""


def png(width: int, height: int, body: bytes = b"", *, depth: int = 8, colour: int = 0, before: Sequence[bytes] = ()) -> bytes:
    head = chunk(b"IHDR", struct.pack(">LLBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(before) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">L", len(data)) + kind + data + struct.pack(">L", zlib.crc32(kind + data))


def zeros(size: int) -> bytes:
    """`size` zero bytes, deflated, made without holding them."""
    packer, block = zlib.compressobj(1), bytes(1 << 20)
    parts = [packer.compress(block) for _ in range(size >> 20)]
    return b"".join([*parts, packer.compress(bytes(size & 0xFFFFF)), packer.flush()])


def _jpeg(size: tuple[int, int] = (96, 128), **options: object) -> bytes:
    buffer = io.BytesIO()
    noise = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def _segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def scans_bomb(size: tuple[int, int], scans: int) -> bytes:
    """A progressive JPEG whose last scan comes again and again."""
    buffer = io.BytesIO()
    Image.new("RGB", size).save(buffer, "JPEG", progressive=True)
    data = buffer.getvalue()
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * scans + data[-2:]


def _giant_jpeg() -> bytes:
    data = bytearray(_jpeg())
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = b"\xff\xdc\xff\xdc"
    return bytes(data)


def _giant_webp() -> bytes:
    body = b"VP8X" + struct.pack("<L", 10) + bytes(4) + b"\xfe\x3f\x00\xfe\x3f\x00"
    return b"RIFF" + struct.pack("<L", len(body) + 4) + b"WEBP" + body


def _webp(size: tuple[int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size).save(buffer, "WEBP", lossless=True, method=0)
    return buffer.getvalue()


def _pages(count: int) -> bytes:
    buffer = io.BytesIO()
    page = Image.new("L", (64, 64))
    page.save(buffer, "TIFF", save_all=True, append_images=[page] * (count - 1))
    return buffer.getvalue()


def _tags_bomb(tags: int, size: int) -> bytes:
    """Many tags that all point at the same large block."""
    plain = tiff(ramp(dtype=np.uint8).tobytes(), (32, 48), 8)
    at = struct.unpack("<L", plain[4:8])[0]
    own = [plain[at + 2 + 12 * n : at + 14 + 12 * n] for n in range(9)]
    extra = [struct.pack("<HHLL", 1000 + n, 7, size, 8) for n in range(tags)]
    body = plain[8:at] + bytes(size)
    directory = struct.pack("<H", tags + 9) + b"".join(own + extra) + bytes(4)
    return b"II*\0" + struct.pack("<L", 8 + len(body)) + body + directory


def _strips_bomb(strips: int) -> bytes:
    plain = bytearray(tiff(ramp(dtype=np.uint8).tobytes(), (32, 48), 8))
    at = struct.unpack("<L", plain[4:8])[0] + 2 + 12 * 5
    plain[at : at + 12] = struct.pack("<HHLL", 273, 4, strips, len(plain))
    return bytes(plain) + bytes(4 * strips)


def _deflated_tiff(width: int, height: int) -> bytes:
    data = bytearray(tiff(b"", (height, width), 8))
    at = struct.unpack("<L", data[4:8])[0] + 2
    body = zeros(width * height)
    data[at + 36 : at + 48] = struct.pack("<HHLL", 259, 4, 1, 8)
    data[at + 60 : at + 72] = struct.pack("<HHLL", 273, 4, 1, len(data))
    data[at + 96 : at + 108] = struct.pack("<HHLL", 279, 4, 1, len(body))
    return bytes(data) + body


def _bmp(width: int, height: int, compression: int, body: bytes) -> bytes:
    head = struct.pack("<2sLHHL", b"BM", 1078 + len(body), 0, 0, 1078)
    return head + struct.pack("<LllHHLLllLL", 40, width, height, 1, 8, compression, len(body), 0, 0, 256, 0) + bytes(1024) + body


def _bombs() -> dict[str, Callable[[], bytes]]:
    start = b"\xff\xd8"
    return {
        "empty": lambda: b"",
        "text": lambda: b"just a note, no picture\n" * 40,
        "html": lambda: b"<!doctype html><html><body>Please sign in</body></html>",
        "json": lambda: b'{"detail": "Authentication credentials were not provided."}',
        "zip": lambda: b"PK\x03\x04" + bytes(400),
        "elf": lambda: b"\x7fELF\x02\x01\x01" + bytes(400),
        "gif bomb": lambda: b"GIF89a\xff\xff\xff\xff\xf7\0\0" + bytes(800),
        "jpeg 2000 named png": lambda: b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(200),
        "playlist": lambda: b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
        "png of 400 Mpx": lambda: png(20000, 20000, zeros(1 << 20)),
        "png of 4 Gpx a side": lambda: png(0xFFFFFFFF, 0xFFFFFFFF, b""),
        "png 0 x 0": lambda: png(0, 0),
        "png 0 wide": lambda: png(0, 8, zeros(8)),
        "png 1 Mpx high, no data": lambda: png(1, 1 << 20, zeros(0)),
        "png with a zip bomb as text": lambda: png(2, 2, zeros(6), before=[chunk(b"zTXt", b"k\0\0" + zeros(200 << 20))]),
        "png with a zip bomb as profile": lambda: png(2, 2, zeros(6), before=[chunk(b"iCCP", b"k\0\0" + zeros(200 << 20))]),
        "png of a million chunks": lambda: png(2, 2, zeros(6), before=[chunk(b"tEXt", b"k\0v")] * 1_000_000),
        "png with a giant chunk length": lambda: png(2, 2)[:33] + b"\x7f\xff\xff\xffIDAT",
        "jpeg of 65500 x 65500": _giant_jpeg,
        "jpeg of 5000 scans": lambda: scans_bomb((4000, 4000), 5000),
        "jpeg of 89 scans": lambda: scans_bomb((4000, 4000), 80),
        "jpeg with 30 MB of exif": lambda: start + _segment(0xE1, exif(6) + bytes(60000)) * 500 + _jpeg()[2:],
        "jpeg with 10,000 profiles": lambda: start + _segment(0xE2, b"ICC_PROFILE\0\1\1" + bytes(100)) * 10000 + _jpeg()[2:],
        "jpeg of a million segments": lambda: start + b"\xff\xfe\0\2" * 1_000_000 + _jpeg()[2:],
        "jpeg with 8 MB of junk": lambda: start + _segment(0xE0, b"JFIF\0") + bytes(8 << 20) + _jpeg()[2:],
        "jpeg with 8 MB of padding": lambda: start + _segment(0xE0, b"JFIF\0") + b"\xff" * (8 << 20) + _jpeg()[2:],
        "webp of 268 Mpx": _giant_webp,
        "tiff of 500 pages": lambda: _pages(500),
        "tiff with 60,000 tags at one megabyte": lambda: _tags_bomb(60_000, 1 << 20),
        "tiff with 4,000 tags at 16 megabytes": lambda: _tags_bomb(4000, 16 << 20),
        "tiff of 12 million strips": lambda: _strips_bomb(12_000_000),
        "tiff of a million strips": lambda: _strips_bomb(1 << 20),
        "bmp with a delta of 22 GB": lambda: _bmp(89_000_000, 1, 1, b"\0\2\xff\xff" * 4),
        "bmp of empty runs": lambda: _bmp(4000, 4000, 1, b"\0\0" * (1 << 20)),
        "bmp of runs over its limit": lambda: _bmp(9000, 9000, 1, b"\0\1"),
        "bmp 4000 Mpx": lambda: _bmp(0x7FFFFFFF, -0x80000000, 0, b""),
    }


def _heavy() -> dict[str, Callable[[], bytes]]:
    """Legal as far as the header goes, and as costly as the limits allow."""
    return {
        "png of 88 Mpx grey": lambda: png(9000, 9800, zeros(9001 * 9800)),
        "png of 88 Mpx rgba": lambda: png(9000, 9800, zeros(36001 * 9800), colour=6),
        "png of 88 Mpx in one row": lambda: png(88_000_000, 1, zeros(88_000_001)),
        "png of 88 Mpx in one column": lambda: png(1, 88_000_000, zeros(176_000_000)),
        "webp of 79 Mpx": lambda: _webp((9000, 8800)),
        "webp of 88 Mpx": lambda: _webp((9000, 9800)),
        "tiff of 88 Mpx": lambda: _deflated_tiff(9000, 9800),
        "jpeg of 88 Mpx with 15 scans": lambda: scans_bomb((9000, 9800), 6),
    }


def _cut(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data))]


def _flip(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 8))):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _splice(data: bytes, chance: random.Random) -> bytes:
    start, length, to = chance.randrange(len(data)), chance.randrange(1, 64), chance.randrange(len(data))
    return data[:to] + data[start : start + length] + data[to + chance.choice((0, length)) :]


def _remove(data: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(data))
    return data[:start] + data[start + chance.randrange(1, 64) :]


def _noise(data: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(data))
    return data[:start] + chance.randbytes(chance.randrange(1, 64)) + data[start + chance.randrange(64) :]


def _extreme(data: bytes, chance: random.Random) -> bytes:
    """A number of the header turned giant, zero or negative."""
    near = chance.randrange(min(len(data), chance.choice((40, 100, len(data)))))
    value = chance.choice(EXTREMES)[: chance.choice((2, 4))]
    return data[:near] + value + data[near + len(value) :]


def _repeat(data: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(data))
    part = data[start : start + chance.randrange(1, 200)]
    return data[:start] + part * chance.choice((2, 50, 1000)) + data[start:]


MUTATIONS = (_cut, _flip, _flip, _splice, _remove, _noise, _extreme, _extreme, _repeat)


def with_check_sums(data: bytes) -> bytes:
    """A PNG whose chunks carry right check sums again, so that the damage gets past them."""
    fixed, at = bytearray(data), 8
    while at + 12 <= len(fixed):
        (size,) = struct.unpack_from(">L", fixed, at)
        end = at + 8 + size
        if end + 4 > len(fixed):
            break
        struct.pack_into(">L", fixed, end, zlib.crc32(bytes(fixed[at + 4 : end])))
        at = end + 4
    return bytes(fixed)


def cases(count: int, seed: int = 0, *, heavy: bool = True, first: int = 0) -> Iterator[Case]:
    """Bombs first, then mutations; the same for the same arguments."""
    bombs = _bombs() | (_heavy() if heavy else {})
    stop = first + count
    for name in list(bombs)[first:stop]:
        yield Case(name, bombs[name]())
    start = max(first, len(bombs))
    yield from mutations(max(0, stop - start), seed, start - len(bombs))


def mutations(count: int, seed: int = 0, first: int = 0) -> Iterator[Case]:
    sound = make_pictures()
    sound["noise.jpg"], sound["noise_progressive.jpg"] = _jpeg(), _jpeg(progressive=True)
    sound["large.png"] = images.encode_png(quarters((200, 300)))
    names = sorted(sound)
    for number in range(first, first + count):
        chance = random.Random(f"{seed} {number}")
        name, mutation = chance.choice(names), chance.choice(MUTATIONS)
        data = mutation(sound[name], chance)
        if data.startswith(b"\x89PNG") and chance.random() < 0.7:
            data = with_check_sums(data)
        suffix = chance.choice(("", "", ".jpg", ".png", ".txt", ".tiff"))
        yield Case(f"{number}: {mutation.__name__[1:]} of {name}", data, suffix)


def outcome(source: bytes | Path) -> str:
    """'decoded' or the code of the refusal; an AssertionError or any foreign error is a violation."""
    header = _refused_or(images.probe, source)
    pixels = _refused_or(images.read, source)
    if isinstance(pixels, str):
        assert pixels in CODES, pixels
        return pixels
    assert not isinstance(header, str), "read what probe refuses"
    assert pixels.dtype == np.uint8
    assert pixels.shape == (header.height, header.width, 3)
    return "decoded"


def _refused_or(look: Callable[[bytes | Path], Any], source: bytes | Path) -> Any:
    try:
        return look(source)
    except BadImage as error:
        return error.code if error.message else "no message"


def run(many: Iterator[Case], folder: Path, *, verbose: bool = False) -> Summary:
    summary = Summary()
    for case in many:
        if verbose:
            print(case.name, file=sys.stderr, flush=True)
        source = case.data if not case.suffix else folder / f"case{case.suffix}"
        if isinstance(source, Path):
            source.write_bytes(case.data)
        summary.judge(case.name, lambda source=source: outcome(source), MAX_SECONDS, time.process_time, tries=2)
    return summary


def part(numbers: range) -> Summary:
    """The cases of some numbers."""
    with tempfile.TemporaryDirectory() as folder:
        return judged(run(cases(len(numbers), 0, first=numbers.start), Path(folder)))


def judged(summary: Summary) -> Summary:
    """With what the process took in all."""
    summary.measured("peak_rss_mb", peak_rss_bytes() / 1e6)
    if peak_rss_bytes() > MAX_RSS_BYTES:
        summary.violations.append(f"peak memory of {peak_rss_bytes()} bytes")
    return summary


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--verbose", action="store_true", help="name each case before it runs")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        summary = judged(run(cases(options.count, options.seed), Path(folder), verbose=options.verbose))
    print(json.dumps(summary.to_json(), indent=2))
    return 1 if summary.violations else 0


if __name__ == "__main__":
    sys.exit(main())
