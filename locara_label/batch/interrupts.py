"""Ctrl-C once: finish what is being worked on. Twice: stop at once. A third time: Python's own way."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from locara_label.batch.worker import Control


@contextmanager
def steering(control: Control, on_first: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Lets SIGINT steer a job inside the block; does nothing outside the main thread, where signals cannot be received."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard, told = socket.socketpair()
    told.setblocking(False)
    watcher = threading.Thread(target=_watch, args=(heard, control, on_first), name="interrupts", daemon=True)
    watcher.start()
    previous_fd = signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
    previous = signal.signal(signal.SIGINT, _Presses())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
        signal.set_wakeup_fd(previous_fd)
        told.close()
        watcher.join()
        heard.close()


class _Presses:
    """What Python calls in the main thread, which may be deep inside the model then: it only keeps count."""

    def __init__(self) -> None:
        self._count = 0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self._count += 1
        if self._count > 2:
            signal.default_int_handler(number, frame)


def _watch(heard: socket.socket, control: Control, on_first: Callable[[], None]) -> None:
    """A signal is written to the socket the moment it arrives, whatever the main thread is doing."""
    while received := heard.recv(64):
        for _ in range(received.count(signal.SIGINT)):
            if control.finishing.is_set():
                control.stop.set()
            else:
                control.finishing.set()
                with suppress(Exception):  # a closed terminal must not end the watch
                    on_first()
