"""Programs that never run longer than the process that wants them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from locara_label.errors import RunError
from locara_label.quickstart.children import Child, last_lines

SLEEPER = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
FAMILY = f"""
import subprocess, sys, time
subprocess.Popen([sys.executable, '-c', {SLEEPER!r}])
{SLEEPER}
"""
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEPER}"
PARENT = """
import os, signal, sys, time
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # who runs the tests may ignore it, and what is ignored is inherited
from pathlib import Path
from locara_label.quickstart.children import Child
child = Child.start("it", [sys.executable, "-c", sys.argv[2]], dict(os.environ), Path(sys.argv[1]), 0)
time.sleep(600)
"""


@pytest.fixture
def kept_open() -> Iterator[int]:
    handle = os.open(os.devnull, os.O_RDONLY)
    yield handle
    os.close(handle)


def start(tmp_path: Path, code: str, kept_open: int) -> Child:
    return Child.start("it", [sys.executable, "-c", code], dict(os.environ), tmp_path / "it.log", kept_open)


def waited(what: Callable[[], bool], seconds: float = 60) -> bool:
    give_up = time.monotonic() + seconds
    while not what() and time.monotonic() < give_up:
        time.sleep(0.05)
    return what()


def lives(number: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{number}/status").read_text("ascii")
    except FileNotFoundError:
        return False


def numbers(log: Path, count: int) -> list[int]:
    assert waited(lambda: log.is_file() and len(log.read_text("utf-8").split()) == count)
    return [int(word) for word in log.read_text("utf-8").split()]


def test_stopping_ends_it(tmp_path: Path, kept_open: int) -> None:
    child = start(tmp_path, SLEEPER, kept_open)
    [number] = numbers(child.log, 1)
    child.check()
    child.stop()
    assert not lives(number)
    child.stop()


def test_stopping_ends_what_it_started(tmp_path: Path, kept_open: int) -> None:
    child = start(tmp_path, FAMILY, kept_open)
    started = numbers(child.log, 2)
    child.stop()
    assert waited(lambda: not any(map(lives, started)))


@pytest.mark.slow
def test_one_that_does_not_listen_is_killed(tmp_path: Path, kept_open: int) -> None:
    child = start(tmp_path, STUBBORN, kept_open)
    [number] = numbers(child.log, 1)
    child.stop()
    assert not lives(number)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_the_end_of_the_parent_ends_all_of_it(tmp_path: Path, number: signal.Signals) -> None:
    log = tmp_path / "it.log"
    with subprocess.Popen([sys.executable, "-c", PARENT, str(log), FAMILY]) as parent:
        started = numbers(log, 2)
        parent.send_signal(number)
    assert waited(lambda: not any(map(lives, started)))


def test_an_end_of_its_own_is_told_with_its_last_words(tmp_path: Path, kept_open: int) -> None:
    child = start(tmp_path, "import sys; print('one'); sys.exit('database is locked')", kept_open)
    with pytest.raises(
        RunError, match=r"^it ended by itself with exit code 1; .*it\.log .* one \| database is locked$"
    ) as caught:
        child.wait_until(lambda: False, 60)
    assert caught.value.code == "quickstart.ended"
    child.stop()


def test_a_signal_is_told_as_shells_do(tmp_path: Path, kept_open: int) -> None:
    child = start(tmp_path, "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", kept_open)
    with pytest.raises(RunError, match=r"exit code 139"):
        child.wait_until(lambda: False, 60)
    child.stop()


def test_one_that_is_never_ready(tmp_path: Path, kept_open: int) -> None:
    child = start(tmp_path, SLEEPER, kept_open)
    with pytest.raises(RunError, match=r"it was not ready after 0 s") as caught:
        child.wait_until(lambda: False, 0)
    assert caught.value.code == "quickstart.slow"
    child.stop()


def test_a_program_that_is_not_there(tmp_path: Path, kept_open: int) -> None:
    child = Child.start("it", [str(tmp_path / "none")], dict(os.environ), tmp_path / "it.log", kept_open)
    with pytest.raises(RunError, match=r"FileNotFoundError"):
        child.wait_until(lambda: False, 60)
    child.stop()


def test_last_lines(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert last_lines(log) == "nothing"
    log.write_bytes(b"old\n" * 9000 + b"a  b\n\n\xff\nlast\n")
    assert last_lines(log) == "a b | \ufffd | last"
