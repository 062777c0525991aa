"""The decoding process: one file, given as a descriptor; requests and answers are lines of JSON, pixels go to shared memory.

    python -P -m locara_label.video.child

The first line says what to open. It ends when its input ends, that is when its owner closes it or dies in any way.
"""

from __future__ import annotations

import json
import mmap
import os
import queue
import resource
import sys
import threading
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from locara_label.errors import BadVideo
from locara_label.video.counting import index
from locara_label.video.decoder import Decoder
from locara_label.video.endings import shortage
from locara_label.video.limits import VideoLimits
from locara_label.video.pixels import Turn, to_rgb, turn_of
from locara_label.video.reading import Reader

_OPEN_FILES = 16
_TOLD = 100
"""Hurt places that an answer names."""

av.logging.set_level(None)


@dataclass
class _Opened:
    decoder: Decoder
    stored: tuple[int, int]
    turn: Turn
    reformatter: VideoReformatter


def main() -> None:
    """Serves until its input ends."""
    answers = os.dup(1)
    silence = os.open(os.devnull, os.O_RDWR)
    os.dup2(silence, 1)
    os.close(silence)
    requests: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    first = json.loads(sys.stdin.buffer.readline())
    limits = VideoLimits(**first["limits"])
    threading.Thread(target=_listen, args=(requests,), daemon=True).start()
    _confine(limits, threads=first["threads"])
    _allow_time(limits)
    opened = _answered(answers, lambda: _open(first, limits))
    if opened is None:
        return
    pixels = mmap.mmap(first["memory"], json.loads(requests.get())["bytes"])
    while True:
        request = json.loads(requests.get())
        _allow_time(limits)
        _answered(answers, lambda request=request: (None, _show(opened, pixels, request)))


def _listen(requests: queue.SimpleQueue[bytes]) -> None:
    try:
        for line in sys.stdin.buffer:
            requests.put(line)
    finally:  # also without memory: who asks should not wait for nothing
        os._exit(0)


def _confine(limits: VideoLimits, *, threads: int) -> None:
    """What holds for the rest of the process's life, whatever a file makes of it."""
    _limit(resource.RLIMIT_AS, limits.memory_bytes)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_NOFILE, _OPEN_FILES)
    if threads == 1:
        _limit(resource.RLIMIT_NPROC, 0)


def _limit(what: int, most: int) -> None:
    hard = resource.getrlimit(what)[1]
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(what, (most, most))


def _allow_time(limits: VideoLimits) -> None:
    """Processor time for the next answer; the kernel ends the process when it is used up."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    most = int(used.ru_utime + used.ru_stime + limits.max_seconds) + 1
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def _answered(answers: int, work: Any) -> Any:
    """Does one piece of work and writes its answer, or the reason why there is none."""
    result = None
    try:
        result, answer = work()
    except MemoryError:
        answer = {"code": "video.no_memory", "message": "not enough memory to decode the video"}
    except BadVideo as error:
        answer = error.to_json()
    except Exception as error:  # noqa: BLE001 - whatever a decoder raises leaves as a coded answer
        answer = {"code": "video.corrupt", "message": f"the video cannot be decoded: {type(error).__name__}: {error}"[:300]}
    line = memoryview(json.dumps(answer).encode() + b"\n")
    while line:
        line = line[os.write(answers, line) :]
    return result


def _open(first: dict[str, Any], limits: VideoLimits) -> tuple[_Opened, dict[str, Any]]:
    reader = Reader(first["file"], first["kind"], limits, first["threads"])
    found, frame = index(reader, limits, shortage(first["file"], first["kind"]))
    reader.check_pixels(frame.height, frame.width)
    stored, turn = (frame.height, frame.width), turn_of(frame)
    decoder = Decoder(reader, found, limits)
    return _Opened(decoder, stored, turn, VideoReformatter()), {
        "size": turn.size(stored),
        "ticks": found.ticks,
        "base": _pair(_base(reader, counted=found.counted)),
        "last": found.last,
        "rate": _pair(_rate(reader)),
        "aspect": _pair(reader.stream.sample_aspect_ratio or 1)[:: -1 if turn.swap else 1],
        "damage": found.damage,
        "decoded": found.decoded,
        "codec": reader.codec,
        "container": reader.kind,
    }


def _rate(reader: Reader) -> Any:
    return reader.stream.average_rate or reader.stream.guessed_rate


def _base(reader: Reader, *, counted: bool) -> Any:
    if not counted:
        return reader.stream.time_base
    rate = _rate(reader)
    return 1 / rate if rate else None


def _pair(value: Any) -> list[int]:
    return [value.numerator, value.denominator] if value else [0, 1]


def _show(opened: _Opened, pixels: mmap.mmap, request: dict[str, Any]) -> dict[str, Any]:
    frame, shown = opened.decoder.frame(request["frame"], back=request["back"])
    rgb = to_rgb(frame, opened.stored, opened.turn, opened.reformatter)
    slot = np.frombuffer(pixels, np.uint8, rgb.size, request["slot"] * rgb.size)
    slot.reshape(rgb.shape)[:] = rgb
    return {"shown": shown, "hurt": sorted(opened.decoder.hurt)[:_TOLD]}


if __name__ == "__main__":
    main()
