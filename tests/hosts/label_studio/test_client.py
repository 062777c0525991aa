"""The client against faults; tests/hosts/label_studio/test_real_client.py drives the real Label Studio."""

from __future__ import annotations

import pytest

from locara_label.errors import BadOption, FetchFailed
from locara_label.hosts.label_studio import connection
from locara_label.hosts.label_studio.client import PAGE, LabelStudio
from locara_label.hosts.label_studio.connection import Patience
from tests.hosts.label_studio.fake_label_studio import LEGACY, PERSONAL, FakeLabelStudio, Refused, serving

QUICK = Patience(attempts=3, pause_s=0.001, connect_s=2, read_s=2)


@pytest.fixture
def fake():
    with serving(FakeLabelStudio(tasks={1: {"image": "a"}})) as found:
        yield found


@pytest.fixture
def client(fake):
    with LabelStudio(fake.url, LEGACY, QUICK) as found:
        yield found


def failing(times, method, path, error):
    """Fails the first `times` requests of one kind."""
    left = [times]

    def fail(asked_method, asked_path):
        if (asked_method, asked_path) == (method, path) and left[0]:
            left[0] -= 1
            raise error

    return fail


def code_of(action):
    with pytest.raises(FetchFailed) as caught:
        action()
    assert LEGACY not in str(caught.value)
    assert PERSONAL not in str(caught.value)
    return caught.value.code


@pytest.mark.parametrize("status", [0, 429, 500, 503])
def test_a_passing_fault_is_waited_out(fake, client, status):
    fake.before = failing(2, "GET", "/api/version", Refused(status))
    assert client.version() == "1.23.2"
    assert fake.times("GET", "/api/version") == 3


@pytest.mark.parametrize(("status", "code"), [(0, "fetch.unreachable"), (503, "fetch.status")])
def test_a_lasting_fault_is_reported(fake, client, status, code):
    fake.before = failing(99, "GET", "/api/version", Refused(status))
    assert code_of(client.version) == code
    assert fake.times("GET", "/api/version") == 3


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "label_studio.refused"),
        (401, "fetch.unauthorised"),
        (403, "label_studio.forbidden"),
        (404, "fetch.not_found"),
        (302, "fetch.status"),
    ],
)
def test_a_refusal_is_not_repeated(fake, client, status, code):
    fake.before = failing(99, "GET", "/api/current-user/whoami", Refused(status, headers={"Location": "https://elsewhere/"}))
    assert code_of(client.whoami) == code
    assert fake.times("GET", "/api/current-user/whoami") == 1


def test_retry_after_is_obeyed(fake, client, monkeypatch):
    slept = []
    monkeypatch.setattr(connection.time, "sleep", slept.append)
    fake.before = failing(2, "GET", "/api/version", Refused(429, headers={"Retry-After": "7"}))
    client.version()
    assert slept == [7, 7]
    fake.before = failing(1, "GET", "/api/version", Refused(429, headers={"Retry-After": "99999"}))
    client.version()
    assert slept[-1] == connection.LONGEST_PAUSE_S


def test_a_lost_answer_leaves_one_prediction(fake, client):
    fake.after = failing(1, "POST", "/api/predictions/", Refused(0))
    assert client.create_prediction(1, [], 0.5, "v1") == 1
    assert [found["model_version"] for found in fake.predictions] == ["v1"]


def test_a_lost_request_is_sent_again(fake, client):
    fake.predictions.append({"id": 1, "task": 1, "model_version": "v0", "score": 0.5, "result": []})
    fake.before = failing(2, "POST", "/api/predictions/", Refused(503))
    assert client.create_prediction(1, [], 0.5, "v1") == 2
    assert len(fake.predictions) == 2


def test_a_prediction_that_is_never_stored(fake, client):
    fake.before = failing(99, "POST", "/api/predictions/", Refused(500))
    assert code_of(lambda: client.create_prediction(1, [], 0.5, "v1")) == "fetch.status"
    assert fake.times("POST", "/api/predictions/") == 3


def test_a_personal_token_is_exchanged_once_and_again_when_refused(fake):
    with LabelStudio(fake.url, PERSONAL, QUICK) as client:
        assert client.connection.kind == "personal"
        for _ in range(3):
            client.whoami()
        assert len(fake.access) == 1
        fake.access.append("another one is valid now")
        client.whoami()
        assert fake.times("POST", "/api/token/refresh/") == 2


def test_a_dead_personal_token(fake):
    with LabelStudio(fake.url, PERSONAL.replace("c2ln", "AAAA"), QUICK) as client:
        assert code_of(client.whoami) == "fetch.unauthorised"


def test_tasks_come_by_id_over_pages(fake, client):
    fake.tasks = {number: {"image": str(number)} for number in range(3, 3 + 2 * PAGE + 5)}
    assert [task.id for task in client.tasks(1)] == list(fake.tasks)
    assert [task.id for task in client.tasks(1, after=2 * PAGE)] == list(range(2 * PAGE + 1, 3 + 2 * PAGE + 5))


def test_a_model_version_is_not_its_beginning(fake, client):
    fake.tasks = {1: {}, 2: {}}
    fake.predictions = [{"id": 1, "task": 1, "model_version": "v10"}, {"id": 2, "task": 2, "model_version": "v1"}]
    assert client.tasks_with(1, "v1") == {2}


@pytest.mark.parametrize(
    ("path", "answer", "ask"),
    [
        ("/api/version", b"<html>", lambda client: client.version()),
        ("/api/version", b"[" * 100_000, lambda client: client.version()),
        ("/api/version", {"release": 1}, lambda client: client.version()),
        ("/api/current-user/whoami", [], lambda client: client.whoami()),
        ("/api/projects/1/", {"id": "1"}, lambda client: client.project(1)),
        ("/api/tasks", {"tasks": {}}, lambda client: list(client.tasks(1))),
        ("/api/tasks", {"tasks": [{"id": 1, "data": None}]}, lambda client: list(client.tasks(1))),
        ("/api/tasks", {"tasks": [{"id": 0, "data": {}, "total_predictions": 0}]}, lambda client: list(client.tasks(1))),
        ("/api/predictions/", [{"id": 1, "task": 1, "result": "oops"}], lambda client: client.predictions(1)),
        ("/api/predictions/", {}, lambda client: client.create_prediction(1, [], 0.5, "v1")),
        ("/api/ml", {}, lambda client: client.refuses_backend("http://127.0.0.1:1")),
    ],
)
def test_an_answer_that_is_none(fake, client, path, answer, ask):
    fake.answers[path] = answer
    assert code_of(lambda: ask(client)) == "label_studio.answer"


def test_an_answer_without_end(fake, client, monkeypatch):
    monkeypatch.setattr(connection, "MAX_ANSWER", 1000)
    fake.answers["/api/version"] = b" " * 2000
    assert code_of(client.version) == "fetch.too_large"


def test_nobody_there(fake):
    with LabelStudio("http://127.0.0.1:9", LEGACY, QUICK) as client:
        assert code_of(client.version) == "fetch.unreachable"


@pytest.mark.parametrize(
    "url", ["localhost:8080", "ftp://a", "http://", "http://u:p@a", "http://a?b=c", "http://a:x", "http://[", ""]
)
def test_an_address_that_is_none(url):
    with pytest.raises(BadOption) as caught:
        LabelStudio(url, LEGACY)
    assert caught.value.code == "option.url"
    assert "u:p" not in str(caught.value)


@pytest.mark.parametrize("key", ["", "  ", "short", "with space and more", "a" * 5000, "ключключключ", "line\nbreak-and-more"])
def test_a_key_that_is_none(key):
    with pytest.raises(BadOption) as caught:
        LabelStudio("http://localhost:8080", key)
    assert caught.value.code == "option.api_key"
    assert not key.strip() or key not in str(caught.value)


def test_the_key_is_not_shown(client):
    shown = repr(client) + repr(client.connection) + repr(vars(client.connection))
    assert LEGACY not in shown
