"""Programs that run beside this process and never longer than it, whatever ends it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from locara_label.errors import RunError

_KEEPER = Path(__file__).with_name("keeper.py")
_STOP_S = 40.0
_LOOK_S = 0.25
_TAIL_BYTES, _TAIL_LINES = 1 << 14, 3


@dataclass
class Child:
    """A running program; `log` has what it says.

    `name` is what people call it: "Label Studio".
    """

    name: str
    log: Path
    _keeper: subprocess.Popen[bytes] = field(repr=False)
    _pipe: int = field(repr=False)

    @classmethod
    def start(cls, name: str, command: Sequence[str], environment: Mapping[str, str], log: Path, kept_open: int) -> Self:
        """Starts a program in the folder of its log.

        Args:
            name: what people call it.
            command: the program and its arguments.
            environment: all that it sees of one.
            log: for what it says, begun anew.
            kept_open: a file descriptor that stays open until the program has ended.

        Raises:
            RunError: code quickstart.start; it cannot be started.
        """
        theirs, ours = os.pipe()
        line = [sys.executable, "-I", str(_KEEPER), str(theirs), *command]
        try:
            with log.open("wb") as said:
                keeper = subprocess.Popen(
                    line, stdin=subprocess.DEVNULL, stdout=said, stderr=said, env=dict(environment), cwd=log.parent,
                    pass_fds=(theirs, kept_open), start_new_session=True,
                )  # fmt: skip
        except OSError as error:
            os.close(ours)
            raise RunError(f"{name} cannot be started: {error}", code="quickstart.start") from error
        finally:
            os.close(theirs)
        return cls(name, log, keeper, ours)

    def stop(self) -> None:
        """Ends it; what it accepted is answered first. Harmless if it has ended."""
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1
        try:
            self._keeper.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._keeper.kill()
            self._keeper.wait()

    def check(self) -> None:
        """Raises RunError: code quickstart.ended; it has ended by itself."""
        code = self._keeper.poll()
        if code is not None:
            text = f"{self.name} ended by itself with exit code {code}; {self.log} has all that it said"
            raise RunError(f"{text}, at last: {last_lines(self.log)}", code="quickstart.ended")

    def said(self, text: str) -> bool:
        """Whether its log has a text within its first MiB."""
        with self.log.open("rb") as stream:
            return text.encode() in stream.read(1 << 20)

    def wait_until(self, is_ready: Callable[[], bool], seconds: float) -> None:
        """Waits until something is so.

        Raises:
            RunError: it ended (quickstart.ended), or the time is over (quickstart.slow).
        """
        give_up = time.monotonic() + seconds
        while not is_ready():
            self.check()
            if time.monotonic() > give_up:
                text = f"{self.name} was not ready after {seconds:.0f} s; {self.log} has all that it said"
                raise RunError(f"{text}, at last: {last_lines(self.log)}", code="quickstart.slow")
            time.sleep(_LOOK_S)


def last_lines(log: Path) -> str:
    """The end of what was said, in one line."""
    try:
        with log.open("rb") as said:
            said.seek(max(said.seek(0, os.SEEK_END) - _TAIL_BYTES, 0))
            lines = said.read().decode("utf-8", "replace").split("\n")
    except OSError:
        return "nothing"
    spoken = [" ".join(line.split())[:300] for line in lines if line.strip()]
    return " | ".join(spoken[-_TAIL_LINES:]) or "nothing"
