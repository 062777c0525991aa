from __future__ import annotations

import base64
import socket
from contextlib import suppress

import pytest
from echo_boxes import HERE, THERE, BoxModel

from locara_label.models.base import SegmentationModel
from locara_label.types import Mask
from tests.engine.echo_text_model import EchoTextModel


def test_health_and_ready(start) -> None:
    client = start()
    assert client.get("/health").json()["status"] == "UP"
    ready = client.get("/ready")
    assert (ready.status, ready.json()["ready"]) == (200, True)
    assert ready.json()["models"] == {"clicks": "classic", "prelabels": "mask2former-mini", "video": "classic"}


def test_versions_equal_setup(start, config) -> None:
    client = start()
    body = {"project": "1.2", "schema": config, "hostname": "x", "access_token": "y", "extra_params": {"k": "v"}}
    version = client.post("/setup", body).json()["model_version"]
    assert client.get("/versions").json()["versions"] == [version]


def test_models_tell_their_states(start) -> None:
    answer = start().get("/v1/models").json()
    states = {
        row["name"]: row["state"]["name"] if isinstance(row["state"], dict) and "name" in row["state"] else row["state"]
        for row in answer["models"]
    }
    assert "segformer-mini" in states
    assert answer["serving"]["clicks"] == "classic"


def test_metrics_count_requests_and_errors(start) -> None:
    client = start()
    client.post("/v1/mask_from_prompt", {"image": "/nowhere.png", "points": [[1, 1]]})
    client.post("/webhook", {"action": "TASKS_CREATED"})
    page = client.get("/metrics").body.decode()
    assert 'locara_requests_total{route="/v1/mask_from_prompt",status="403"} 1.0' in page
    assert 'locara_errors_total{code="fetch.not_allowed"} 1.0' in page
    assert 'locara_webhooks_total{action="TASKS_CREATED"} 1.0' in page


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [("/nothing", "GET", 404), ("/predict", "GET", 405), ("/health", "POST", 405), ("/../etc", "GET", 404)],
)
def test_other_addresses(start, path: str, method: str, status: int) -> None:
    reply = start().send(method, path, b"{}", {"content-type": "application/json"})
    assert (reply.status, reply.code) == (status, f"http.{status}")


def test_a_foreign_host_is_refused(start) -> None:
    client = start(names=["assist"])
    assert client.get("/health", host="evil.example").status == 421
    assert client.get("/health", host=f"evil.example:{client.port}").code == "request.host"
    assert client.get("/health", host="assist:9090").status == 200
    assert client.get("/health", host="localhost").status == 200


def test_no_origin_may_read(start) -> None:
    reply = start().get("/health", origin="http://evil.example")
    assert not [name for name in reply.headers if name.startswith("access-control")]


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_only_json_is_taken(start, kind: str) -> None:
    reply = start().send("POST", "/webhook", b'{"action": "X"}', {"content-type": kind})
    assert (reply.status, reply.code) == (415, "request.content_type")


def test_basic_auth(start) -> None:
    client = start(basic_auth="me:secret")
    good = base64.b64encode(b"me:secret").decode()
    bad = base64.b64encode(b"me:wrong").decode()
    assert client.get("/versions").status == 401
    assert client.get("/versions", authorization=f"Basic {bad}").code == "request.unauthorised"
    assert client.get("/versions", authorization="Basic !").status == 401
    assert client.get("/versions", authorization=f"Bearer {good}").status == 401
    assert client.get("/versions", authorization=f"Basic {good}").status == 200
    assert client.get("/health").status == 200
    assert client.get("/health", authorization=f"Basic {good}").status == 200
    assert client.get("/health", authorization=f"Basic {bad}").status == 401
    assert client.post("/webhook", {"action": "X"}).status == 200


def test_a_length_beyond_the_bound_is_refused_before_the_body(start) -> None:
    client = start()
    for path, most in (("/setup", 16 << 20), ("/predict", 64 << 20)):
        head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {most + 1}\r\n\r\n"
        with socket.create_connection(("127.0.0.1", client.port), timeout=20) as connection:
            connection.sendall(head.encode())
            assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


def test_a_body_without_a_length_is_counted(start) -> None:
    client = start()
    head = b"POST /webhook HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    chunk = b"100000\r\n" + b"x" * (1 << 20) + b"\r\n"
    with socket.create_connection(("127.0.0.1", client.port), timeout=20) as connection, suppress(ConnectionError):
        connection.sendall(head)
        for _ in range(200):
            connection.sendall(chunk)
        pytest.fail("an endless body was taken")
    assert 'code="request.too_large"} 1.0' in client.get("/metrics").body.decode()


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b'{"a": NaN}', b"null", b'{"a": 1e999}'])
@pytest.mark.parametrize("path", ["/setup", "/predict", "/webhook", "/v1/segment", "/v1/mask_from_prompt"])
def test_what_is_not_json_is_refused(start, path: str, body: bytes) -> None:
    reply = start().send("POST", path, body, {"content-type": "application/json"})
    assert reply.status == 422
    assert reply.code.startswith("request.")


def test_mask_from_prompt(start, scene) -> None:
    target = max(scene.objects, key=lambda item: item.mask.sum())
    rows, columns = target.mask.nonzero()
    box = [int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1]
    answer = start().post(
        "/v1/mask_from_prompt", {"image": "/data/upload/1/scene.png", "prompts": [{"box": box}, {"box": box, "candidates": 3}]}
    )
    assert answer.status == 200
    content = answer.json()
    assert content["size"] == [480, 640]
    assert [len(candidates) for candidates in content["masks"]] == [1, 3]
    from locara_label.types import Mask

    found = Mask.from_coco(content["masks"][0][0]["segmentation"])
    assert found.iou(Mask.from_array(target.mask)) > 0.7
    assert content["masks"][0][0]["area"] == found.area


def test_segment(start, mini: SegmentationModel) -> None:
    content = start().post("/v1/segment", {"image": "/data/upload/1/scene.png", "threshold": 0.5}).json()
    assert content["model"] == "mask2former-mini"
    assert {one["label"] for one in content["instances"]} <= {label.name for label in mini.labels}
    assert content["instances"]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 422, "request.image"),
        ({"image": "/data/upload/1/scene.png"}, 422, "prompt.empty"),
        ({"image": "/data/upload/1/none.png", "points": [[1, 1]]}, 422, "fetch.not_found"),
        ({"image": "/etc/passwd", "points": [[1, 1]]}, 403, "fetch.not_allowed"),
        ({"image": "http://127.0.0.1:1/x", "points": [[1, 1]]}, 403, None),
        ({"image": "/data/upload/1/scene.png", "points": [[1, 1]], "model": "sam2.1-hiera-large"}, 403, "model.not_allowed"),
        ({"image": "/data/upload/1/scene.png", "points": [[1, 1]] * 1001}, 422, "request.too_many"),
        ({"image": "/data/upload/1/scene.png", "points": [[1]]}, 422, "request.prompt"),
        ({"image": "/data/upload/1/scene.png", "points": [["1", 1]]}, 422, "request.prompt"),
        ({"image": "/data/upload/1/scene.png", "points": [[1, 1]], "labels": [2]}, 422, "request.prompt"),
        ({"image": "/data/upload/1/scene.png", "points": [[-1, 1]]}, 422, "prompt.outside"),
        ({"image": "/data/upload/1/scene.png", "points": [[1e308, 1]]}, 422, "request.prompt"),
        ({"image": "/data/upload/1/scene.png", "box": [5, 5, 5, 9]}, 422, "prompt.box"),
        ({"image": "/data/upload/1/scene.png", "box": [1, 2, 3]}, 422, "request.prompt"),
        ({"image": "/data/upload/1/scene.png", "points": [[1, 1]], "candidates": 2}, 422, "prompt.candidates"),
        ({"image": "/data/upload/1/scene.png", "mask": {"size": [2, 2], "counts": "@@@@"}}, 422, None),
        ({"image": "data:text/html,x", "points": [[1, 1]]}, 403, "fetch.scheme"),
    ],
)  # fmt: skip
def test_wrong_prompts_are_coded_errors(start, body, status: int, code: str | None) -> None:
    reply = start().post("/v1/mask_from_prompt", body)
    assert reply.status == status
    assert code is None or reply.code == code


def test_the_token_goes_to_label_studio_and_stays_out_of_answers(start, files) -> None:
    client = start()
    reply = client.post("/v1/mask_from_prompt", {"image": "/data/upload/1/none.png", "points": [[1, 1]]})
    assert files.asked == [("/data/upload/1/none.png", "Token 0123456789abcdef0123456789abcdef01234567")]
    assert b"0123456789abcdef" not in reply.body + client.get("/metrics").body


def test_granted_models_are_loaded_on_request(start) -> None:
    client = start(capabilities={"models": ["segformer-mini"]})
    body = {"image": "/data/upload/1/scene.png", "model": "segformer-mini"}
    assert client.post("/v1/segment", body).json()["model"] == "segformer-mini"
    assert client.post("/v1/segment", {**body, "model": "segformer-b0"}).code == "model.not_allowed"


def test_routes_may_live_below_a_path(start) -> None:
    client = start(path="/sub/path", basic_auth="me:secret")
    assert client.get("/sub/path/health").status == 200
    assert client.get("/sub/path/versions").status == 401
    assert client.post("/sub/path/webhook", {"action": "X"}).status == 200
    assert client.get("/health").status == 401


@pytest.fixture
def reading(start, files):
    """A server that understands the phrase "at x0 y0 x1 y1"."""
    return start(prelabel=False, prompt_model=BoxModel(), text_model=EchoTextModel()), f"{files.url}/data/upload/1/scene.png"


def test_masks_from_text(reading) -> None:
    client, image = reading
    content = client.post("/v1/mask_from_prompt", {"image": image, "text": f"{THERE} . nothing . {HERE}"}).json()
    assert (content["model"], content["text_model"], content["size"], content["left_out"]) == ("echo", "echo-text", [480, 640], 0)
    found = {one["phrase"]: one for one in content["masks"]}
    assert set(found) == {HERE, THERE}
    assert (found[HERE]["box"], found[HERE]["bbox"]) == ([3, 4, 10, 12], [3, 4, 7, 8])
    assert (found[HERE]["box_score"], found[HERE]["mask_score"], found[HERE]["area"]) == (0.9, 0.5, 56)
    assert Mask.from_coco(found[HERE]["segmentation"]).box.xywh == (3, 4, 7, 8)
    several = client.post("/v1/mask_from_prompt", {"image": image, "text": [THERE, HERE], "text_threshold": 0.1}).json()
    assert several["masks"] == content["masks"]
    for quiet in ({"text": "nothing"}, {"text": HERE, "box_threshold": 0.95}):
        assert client.post("/v1/mask_from_prompt", {"image": image, **quiet}).json()["masks"] == []


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"text": ""}, "request.prompt"),
        ({"text": " . "}, "prompt.empty"),
        ({"text": []}, "prompt.empty"),
        ({"text": 5}, "request.prompt"),
        ({"text": ["x", 5]}, "request.prompt"),
        ({"text": "word " * 10_000}, "prompt.too_long"),
        ({"text": ["x"] * 1001}, "request.too_many"),
        ({"text": "x", "points": [[1, 1]]}, "request.prompt"),
        ({"text": "x", "model": "classic"}, "request.prompt"),
        ({"text": "x", "box_threshold": 1.5}, "request.prompt"),
        ({"text": "x", "text_threshold": "high"}, "request.prompt"),
    ],
)
def test_wrong_texts_are_refused(reading, given: dict, code: str) -> None:
    client, image = reading
    reply = client.post("/v1/mask_from_prompt", {"image": image, **given})
    assert (reply.status, reply.code) == (422, code)


def test_without_a_model_for_it_text_is_refused(start, files) -> None:
    reply = start().post("/v1/mask_from_prompt", {"image": f"{files.url}/data/upload/1/scene.png", "text": "x"})
    assert (reply.status, reply.code) == (422, "prompt.text")
