"""Ports: the usual one, any other where it is taken, a clear word where it was asked for."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from locara_label.errors import RunError
from locara_label.quickstart.ports import choose, is_free


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield int(listening.getsockname()[1])


def test_a_taken_one_is_seen(taken: int) -> None:
    assert not is_free(taken)


def test_the_usual_one_if_it_is_free(taken: int) -> None:
    assert is_free(found := choose(None, taken, "--port"))
    assert found != taken
    assert choose(None, found, "--port") == found
    assert choose(found, taken, "--port") == found


def test_one_that_was_asked_for(taken: int) -> None:
    with pytest.raises(RunError, match=rf"port {taken} .* is taken; name another one for --port") as caught:
        choose(taken, taken, "--port")
    assert caught.value.code == "quickstart.port"
