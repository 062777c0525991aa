import os
import signal
import threading
import time

import pytest

from locara_label.batch.interrupts import steering
from locara_label.batch.worker import Control

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")


def wait(condition):
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_once_twice_and_a_third_time():
    control, told = Control(), []
    before = signal.getsignal(signal.SIGINT)
    with steering(control, on_first=lambda: told.append(1)):
        os.kill(os.getpid(), signal.SIGINT)
        wait(lambda: told)
        assert control.finishing.is_set()
        assert not control.stop.is_set
        os.kill(os.getpid(), signal.SIGINT)
        wait(lambda: control.stop.is_set)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert told == [1]
    assert signal.getsignal(signal.SIGINT) is before


def test_a_closed_terminal_does_not_stop_the_watch():
    control = Control()

    def broken():
        raise OSError("closed")

    with steering(control, on_first=broken):
        os.kill(os.getpid(), signal.SIGINT)
        wait(control.finishing.is_set)
        os.kill(os.getpid(), signal.SIGINT)
        wait(lambda: control.stop.is_set)


def test_outside_the_main_thread_signals_are_left_alone():
    before = signal.getsignal(signal.SIGINT)
    seen = []

    def work():
        with steering(Control()):
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]
