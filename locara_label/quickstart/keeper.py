"""Runs one program for as long as a pipe is open, then ends it and everything that it started.

    python -I keeper.py FILE-DESCRIPTOR PROGRAM ARGUMENT...

The pipe's other end is held by the process that wants the program, and the system closes it however that process ends. Started as
the leader of a session of its own, so that its process group is what there is to end. Needs the standard library only.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys

STOP_S = 25.0
"""The assist server answers what it accepted, for 20 s at most."""
_LOOK_S = 0.2


def main(arguments: list[str]) -> int:
    """Gives the program's exit code, 128 and the signal's number where a signal ended it."""
    pipe = int(arguments[0])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _left_to_the_pipe)
    program = subprocess.Popen(arguments[1:], stdin=subprocess.DEVNULL)
    while program.poll() is None:
        if select.select([pipe], [], [], _LOOK_S)[0]:
            return _end(program)
    return _code(program)


def _left_to_the_pipe(_number: int, _frame: object) -> None:
    """What is handled here is not ignored in the program, as an ignored signal would be."""


def _end(program: subprocess.Popen[bytes]) -> int:
    os.killpg(0, signal.SIGTERM)
    try:
        program.wait(STOP_S)
    except subprocess.TimeoutExpired:
        os.killpg(0, signal.SIGKILL)
    return _code(program)


def _code(program: subprocess.Popen[bytes]) -> int:
    code = program.wait()
    return 128 - code if code < 0 else code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
