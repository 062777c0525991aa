"""What processes of ours that serve another one have in common: how they start, and memory that both see."""

from __future__ import annotations

import fcntl
import os
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import locara_label


def command(module: str, *arguments: str) -> list[str]:
    """Starts a module of ours with this interpreter, with nothing of the working folder or of the user's own packages."""
    return [sys.executable, "-P", "-s", "-m", module, *arguments]


def import_path() -> dict[str, str]:
    """Variables with which a child imports the modules that this process would import."""
    here = str(Path(locara_label.__file__).resolve().parents[1])
    paths = [os.path.abspath(path) for path in sys.path if path]  # noqa: PTH100 - links stay as they are
    return {"PYTHONPATH": os.pathsep.join([*paths, here]), "PYTHONSAFEPATH": "1"}


def anonymous_memory() -> int:
    """A descriptor of memory without a name; where the system has none, of a file that is already deleted."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("locara", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def seal(memory: int, *, growing: bool = False) -> None:
    """From now on no side can take away what the other one has mapped, nor, unless it is `growing`, add to it."""
    if hasattr(fcntl, "F_ADD_SEALS"):
        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL | (0 if growing else fcntl.F_SEAL_GROW)
        with suppress(OSError):
            fcntl.fcntl(memory, fcntl.F_ADD_SEALS, seals)
