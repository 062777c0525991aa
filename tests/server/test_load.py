"""Many users at once, through HTTP: everybody gets his own picture's mask, and nothing of anybody else."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from echo_clicks import CONFIG, USERS, Pictures, click, metric
from running import Client, Reply
from task_files import Files

from locara_label.hosts.label_studio.regions import read_regions
from locara_label.server.run import listening
from locara_label.types import Mask
from tests.engine.echo_model import EchoModel


@pytest.fixture
def model() -> Iterator[EchoModel]:
    """Held up with `go_on.clear()`; let go at the end, or a failed test would not end."""
    made = EchoModel()
    yield made
    made.go_on.set()


@pytest.fixture
def client(start: Callable[..., Client], model: EchoModel) -> Client:
    return start(prelabel=False, prompt_model=model)


@pytest.mark.parametrize("clicks", [200, pytest.param(1000, marks=pytest.mark.slow)])
def test_interleaved_clicks_get_the_masks_and_labels_that_were_asked_for(client: Client, files: Files, clicks: int) -> None:
    pictures = Pictures.put(files, USERS)

    def wrong(count: int) -> str | None:
        user, number = count % USERS, (count // USERS + 3 * count) % USERS
        height, width = pictures.pixels[number].shape[:2]
        x, y, label = count % width, count * 7 % height, f"user {user}"
        expected = pictures.expected(number, x, y)
        if count % 3 == 0:
            body = {"image": pictures.path(number), "points": [[x + 0.5, y + 0.5]]}
            content = client.post("/v1/mask_from_prompt", body).json()
            return None if Mask.from_coco(content["masks"][0][0]["segmentation"]) == expected else f"{count}: another mask"
        reply = client.post("/predict", click(pictures, number, x, y, region=f"r{count}", label=label))
        (found,) = read_regions(reply.json()["results"][0]["result"]).masks
        return None if (found.mask, found.labels) == (expected, (label,)) else f"{count}: another mask or label"

    with ThreadPoolExecutor(USERS) as users:
        assert [problem for problem in users.map(wrong, range(clicks)) if problem] == []
    assert metric(client, "locara_encodes") == USERS
    assert metric(client, "locara_decodes") == clicks


def test_ten_clicks_at_once_on_a_new_picture_encode_once(client: Client, model: EchoModel, files: Files) -> None:
    pictures = Pictures.put(files, 1)
    model.go_on.clear()
    with ThreadPoolExecutor(10) as users:
        replies = [users.submit(client.post, "/predict", click(pictures, 0, x, 1, region=f"r{x}")) for x in range(10)]
        assert model.entered.wait(10)
        model.go_on.set()
        assert [reply.result().status for reply in replies] == [200] * 10
    assert (metric(client, "locara_encodes"), metric(client, "locara_decodes")) == (1, 10)
    assert len(files.asked) == 1


def test_a_newer_click_on_the_same_object_ends_the_older(client: Client, model: EchoModel, files: Files) -> None:
    pictures = Pictures.put(files, 1)
    model.go_on.clear()
    with ThreadPoolExecutor(3) as users:
        older = users.submit(client.post, "/predict", click(pictures, 0, 1, 1, region="same"))
        assert model.entered.wait(10)
        other = users.submit(client.post, "/predict", click(pictures, 0, 1, 1, region="other"))
        newer = users.submit(client.post, "/predict", click(pictures, 0, 2, 2, region="same"))
        assert (older.result(30).status, older.result().code) == (409, "run.replaced")
        assert not other.done()
        model.go_on.set()
        assert (other.result(30).status, newer.result(30).status) == (200, 200)
    (found,) = read_regions(newer.result().json()["results"][0]["result"]).masks
    assert found.mask == pictures.expected(0, 2, 2)


def test_quick_routes_answer_while_the_model_is_busy(client: Client, model: EchoModel, files: Files) -> None:
    pictures = Pictures.put(files, 1)
    model.go_on.clear()
    with ThreadPoolExecutor(20) as users:
        waiting = [users.submit(client.post, "/predict", click(pictures, 0, x, 1, region=f"r{x}")) for x in range(20)]
        assert model.entered.wait(10)
        replies: list[Reply] = [client.get(path) for path in ("/health", "/ready", "/versions", "/metrics", "/v1/models")]
        replies += [client.post("/setup", {"project": "1.1", "schema": CONFIG}), client.post("/webhook", {"action": "X"})]
        assert [reply.status for reply in replies] == [200] * 7
        assert not any(reply.done() for reply in waiting)
        model.go_on.set()
        assert {reply.result(30).status for reply in waiting} == {200}


def test_no_thread_is_left_for_every_request(client: Client, files: Files) -> None:
    pictures = Pictures.put(files, 4)
    for count in range(8):
        client.post("/predict", click(pictures, count % 4, 1, 1, region=f"r{count}"))
    before = threading.active_count()
    for count in range(40):
        client.post("/predict", click(pictures, count % 4, 1, 1, region=f"s{count}"))
    assert threading.active_count() <= before


def test_an_answer_is_sent_at_once() -> None:
    """Otherwise its body waits until its head was acknowledged, which takes 40 ms."""
    (listens,) = listening("127.0.0.1", 0)
    with listens, socket.create_connection(listens.getsockname()), listens.accept()[0] as accepted:
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
