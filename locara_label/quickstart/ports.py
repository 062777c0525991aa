"""Ports of this machine alone."""

from __future__ import annotations

import socket

from locara_label.errors import RunError

HOST = "127.0.0.1"
_CONNECT_S = 1.0


def choose(wanted: int | None, usual: int, what: str) -> int:
    """A free port: the wanted one, else the usual one if it is free, else any.

    Raises:
        RunError: code quickstart.port; the wanted one is taken.
    """
    if wanted is None:
        return usual if is_free(usual) else _any()
    if not is_free(wanted):
        raise RunError(f"port {wanted} of {HOST} is taken; name another one for {what}", code="quickstart.port")
    return wanted


def is_free(port: int) -> bool:
    """Whether nobody listens there, on any address of this machine that a program may take for its own."""
    try:
        socket.create_server((HOST, port)).close()
    except (OSError, OverflowError):
        return False
    try:
        socket.create_connection(("localhost", port), _CONNECT_S).close()
    except OSError:
        return True
    return False


def _any() -> int:
    with socket.create_server((HOST, 0)) as found:
        return int(found.getsockname()[1])
