"""How much memory a process held at most, by the system's own account."""

import resource
from pathlib import Path


def peak_rss_bytes(pid: int | str = "self") -> int:
    """The most that a running process held at once (Linux).

    `getrusage` does not tell it: a process that was started by a big one has the peak of that one too (getrusage(2), ru_maxrss
    outlives execve).
    """
    lines = Path(f"/proc/{pid}/status").read_text("utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024


def peak_rss_of_children_bytes() -> int:
    """The most that any child that has ended held at once, or its parent when it started the child."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
