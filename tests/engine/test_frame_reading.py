"""Frames for somebody who may give up while a decoder has just begun."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from locara_label.engine.frame_reading import FrameReader
from locara_label.errors import BadVideo, Cancelled, DeadlineExceeded
from locara_label.models.base import NO_LIMIT, Clock, Limit
from locara_label.runtime.session import Stop


class Decoder:
    """Frames that come once they are let, from the thread that asks."""

    def __init__(self) -> None:
        self.let, self.began = threading.Event(), threading.Event()
        self.asked: list[tuple[int, str]] = []

    def frame(self, number: int) -> Any:
        self.asked.append((number, threading.current_thread().name))
        self.began.set()
        assert self.let.wait(60)
        if number < 0:
            raise BadVideo("it is damaged", code="video.frame")
        return np.full((2, 3, 3), number, np.uint8)


@pytest.fixture
def decoder() -> Decoder:
    return Decoder()


@pytest.fixture
def reader(decoder: Decoder) -> Iterator[FrameReader]:
    made = FrameReader(decoder)  # type: ignore[arg-type]
    yield made
    decoder.let.set()
    made.close()


def test_frames_come_as_they_are(reader: FrameReader, decoder: Decoder) -> None:
    decoder.let.set()
    for limit in (NO_LIMIT, Limit(Stop()), Limit(None, 60)):
        assert reader.frame(7, Clock(limit))[0, 0, 0] == 7
        with pytest.raises(BadVideo):
            reader.frame(-1, Clock(limit))


def test_without_a_limit_there_is_no_thread(reader: FrameReader, decoder: Decoder) -> None:
    decoder.let.set()
    reader.frame(1, Clock(NO_LIMIT))
    reader.frame(1, Clock(Limit(Stop())))
    assert [name == threading.current_thread().name for _, name in decoder.asked] == [True, False]


def test_who_gives_up_does_not_wait_for_the_decoder(reader: FrameReader, decoder: Decoder) -> None:
    stop = Stop()
    threading.Thread(target=lambda: (decoder.began.wait(60), stop.set())).start()
    with pytest.raises(Cancelled):
        reader.frame(3, Clock(Limit(stop)))
    with pytest.raises(DeadlineExceeded):
        reader.frame(4, Clock(Limit(None, 0.1)))
    assert not decoder.let.is_set()
    decoder.let.set()
    assert reader.frame(5, Clock(Limit(Stop())))[0, 0, 0] == 5
    assert [number for number, _ in decoder.asked] == [3, 5]


def test_closing_does_not_wait_either(reader: FrameReader, decoder: Decoder) -> None:
    with pytest.raises(DeadlineExceeded):
        reader.frame(3, Clock(Limit(None, 0.1)))
    reader.close()
    assert not decoder.let.is_set()
