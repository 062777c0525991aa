"""More than the server can do: refused at once, told when to come again, and forgotten afterwards."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from echo_clicks import Pictures, click, metric
from running import Client, Reply
from task_files import Files

from locara_label.server import places
from tests.engine.echo_model import EchoModel

WAITING = 2
JSON = {"content-type": "application/json"}


@pytest.fixture
def model() -> Iterator[EchoModel]:
    made = EchoModel()
    yield made
    made.go_on.set()


@pytest.fixture
def client(start: Callable[..., Client], model: EchoModel) -> Client:
    return start(prelabel=False, prompt_model=model, waiting=WAITING)


def until(happened: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.01)


def idle(client: Client) -> bool:
    return set(client.get("/ready").json()["waiting"].values()) == {0}


def half_request(client: Client, path: str, body: bytes, sent: int) -> socket.socket:
    """A request of which only so many bytes of the body have come."""
    connection = socket.create_connection(("127.0.0.1", client.port), timeout=30)
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    connection.sendall(head.encode() + body[:sent])
    return connection


def test_too_many_are_refused_and_told_when_to_come_again(client: Client, model: EchoModel, files: Files) -> None:
    pictures = Pictures.put(files, 30)
    model.go_on.clear()
    with ThreadPoolExecutor(30) as users:
        replies = [users.submit(client.post, "/predict", click(pictures, i, 1, 1, region=f"r{i}")) for i in range(30)]
        until(lambda: sum(reply.done() for reply in replies) >= 10)
        assert client.get("/health").status == 200
        refused = [reply.result() for reply in replies if reply.done()]
        model.go_on.set()
        rest = [reply.result() for reply in replies if reply.result() not in refused]
    assert {reply.status for reply in refused} == {429}
    assert {reply.code for reply in refused} == {"run.queue_full"}
    assert all(1 <= int(reply.headers["retry-after"]) <= 60 for reply in refused)
    assert 200 in {reply.status for reply in rest}
    until(lambda: idle(client))
    again = [client.post("/predict", click(pictures, i, 1, 1, region=f"again{i}")).status for i in range(30)]
    assert again == [200] * 30


def test_more_requests_than_threads_are_refused_at_once(client: Client, model: EchoModel, files: Files) -> None:
    pictures = Pictures.put(files, 1)
    model.go_on.clear()
    with ThreadPoolExecutor(40) as users:
        body = click(pictures, 0, 1, 1, region="r")
        replies: list[Future[Reply]] = []
        for count in range(40):  # one picture: they all wait for one job, in a thread each
            body["params"]["context"]["result"][0]["id"] = f"r{count}"
            replies.append(users.submit(client.send, "POST", "/predict", json.dumps(body).encode(), JSON))
        threads = 3 * WAITING + 8
        until(lambda: sum(reply.done() for reply in replies) == 40 - threads)
        refused = [reply.result() for reply in replies if reply.done()]
        assert {(reply.status, "retry-after" in reply.headers) for reply in refused} == {(429, True)}
        model.go_on.set()
        statuses = [reply.result().status for reply in replies]
    assert set(statuses) == {200, 429}  # the decoder has a queue of its own
    assert statuses.count(200) >= WAITING


def test_who_leaves_leaves_nothing_behind(client: Client, model: EchoModel, files: Files) -> None:
    pictures = Pictures.put(files, 6)
    model.go_on.clear()
    for number in range(3):
        body = json.dumps(click(pictures, number, 1, 1, region=f"r{number}")).encode()
        half_request(client, "/predict", body, len(body)).close()
    assert model.entered.wait(10)
    model.go_on.set()
    until(lambda: idle(client))
    assert client.post("/predict", click(pictures, 5, 1, 1, region="next")).status == 200
    until(lambda: metric(client, "locara_decoding_waiting") == 0)


def test_a_body_that_never_comes_is_given_up(client: Client, files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "BODY_S", 0.3)
    pictures = Pictures.put(files, 1)
    body = json.dumps(click(pictures, 0, 1, 1, region="r")).encode()
    opened = [half_request(client, "/predict", body, len(body) - 1) for _ in range(50)]
    assert client.post("/predict", click(pictures, 0, 1, 1, region="s")).status == 200  # they hold no thread
    for connection in opened:
        with connection:
            answer = b""
            while piece := connection.recv(4096):
                answer += piece
            assert answer.startswith(b"HTTP/1.1 408 ")
            assert b'"code":"request.slow"' in answer


def test_a_request_that_takes_too_long_is_answered_so(start: Callable[..., Client], model: EchoModel, files: Files) -> None:
    client, pictures = start(prelabel=False, prompt_model=model, click_s=0.3), Pictures.put(files, 1)
    model.go_on.clear()
    reply = client.post("/predict", click(pictures, 0, 1, 1, region="r"))
    assert (reply.status, reply.code) == (504, "run.deadline")
    model.go_on.set()
    until(lambda: idle(client))
    assert client.post("/predict", click(pictures, 0, 1, 1, region="r")).status == 200
