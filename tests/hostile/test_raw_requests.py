from __future__ import annotations

import random
import re
import socket
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from locara_label.server import reasons
from locara_label.server.service import Service
from tests.hostile import wire
from tests.hostile.bodies import attacked, samples
from tests.server.running import Client

pytestmark = pytest.mark.slow
Attack = tuple[Client, Service]


@pytest.fixture(scope="module")
def attack() -> Iterator[Attack]:
    with attacked() as found:
        yield found


def test_no_wrong_request_is_a_failure_of_the_server(caplog: pytest.LogCaptureFixture) -> None:
    """A sample; `python -m tests.reliability run requests` sends all."""
    found = wire.run(range(500))
    assert found.violations == []
    assert found.outcomes["200"] > 5
    assert found.outcomes["400"] > 100
    assert [record for record in caplog.records if record.exc_info] == []


def test_every_route_is_asked(attack: Attack) -> None:
    known = wire.routes(attack[1])
    assert len(known) > 15
    whole = b"".join(wire.request(random.Random(number), known, samples()) for number in range(3000))
    for _, path in known:
        assert re.sub(rb"\{.*", b"", path.encode()) in whole


def test_a_head_that_does_not_come_is_not_waited_for(attack: Attack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reasons, "HEAD_S", 0.5)
    client, _ = attack
    connections = [socket.create_connection(("127.0.0.1", client.port), timeout=20) for _ in range(300)]
    for number, connection in enumerate(connections):
        connection.sendall(b"GET /health HTTP/1.1\r\nhost: loc"[: number % 3 * 15])
    assert client.get("/health").status == 200
    for connection in connections:
        with connection:
            assert connection.recv(10) == b""
    trickle(client.port)


def trickle(port: int) -> None:
    """A head that comes a byte at a time ends too."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        began = time.monotonic()
        with suppress(ConnectionError):
            while time.monotonic() - began < 15 and not ended(connection):
                connection.sendall(b"x")
        assert time.monotonic() - began < 15


def ended(connection: socket.socket) -> bool:
    connection.settimeout(0.05)
    try:
        return connection.recv(10) == b""
    except TimeoutError:
        return False


def test_a_body_may_come_later_than_a_head(attack: Attack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reasons, "HEAD_S", 0.3)
    with socket.create_connection(("127.0.0.1", attack[0].port), timeout=20) as connection:
        head = b"POST /webhook HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 14\r\n\r\n"
        connection.sendall(head)
        time.sleep(1)
        connection.sendall(b'{"action":"X"}')
        assert connection.recv(100).startswith(b"HTTP/1.1 200 ")


def test_what_is_counted_by_name_cannot_be_made_up(attack: Attack) -> None:
    """Everybody may send webhooks, and every name that is counted stays in memory."""
    client, _ = attack
    for number in range(50):
        client.post("/webhook", {"action": f"MADE_UP_{'ABCDEFGHIJ'[number % 10]}"})
    client.post("/webhook", {"action": "TASKS_CREATED"})
    page = client.get("/metrics").body.decode()
    assert "MADE_UP" not in page
    counted = re.search(r'locara_webhooks_total\{action="other"\} (\d+)', page)
    assert counted
    assert int(counted[1]) >= 50
    assert 'locara_webhooks_total{action="TASKS_CREATED"} 1.0' in page
