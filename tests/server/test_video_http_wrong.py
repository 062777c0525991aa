"""`/v1/video/sessions` of a real server: bodies that are wrong, or do not fit the video."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from held_video_model import HeldVideoModel
from running import Client
from session_clips import BASE, FRAMES, opened
from watching import watching

WRONG: tuple[Any, ...] = (
    *(None, True, "", "x", -1, 0.5, 1e308, 10**400, 1 << 53),
    *([], [[]], [None], [[1, "2"]], {}, {"a": 1}, "\ud800", "x" * 100_000),
)
KINDS = ("request.", "prompt.", "option.", "video.", "mask.", "model.", "fetch.")
FIELDS = {
    "prompt": ("frame", "time_s", "object", "points", "labels", "box", "mask", "label", "pointers", "text", "box_threshold"),
    "propagate": ("direction", "start", "start_s", "frames", "stride", "redetect", "pointers"),
    "lock": ("frame", "time_s", "object", "locked"),
    "cancel": ("x",),
    "": ("video", "model", "name"),
}


SOUND: dict[str, dict[str, Any]] = {
    "prompt": {"frame": 1, "object": 1, "points": [[5, 5]]},
    "propagate": {"frames": 1},
    "lock": {"frame": 0, "object": 1},
    "cancel": {},
    "": {},
}


@pytest.mark.parametrize("path", FIELDS)
def test_wrong_fields_are_coded_errors(serve: Callable[..., Client], clips: Path, held: HeldVideoModel, path: str) -> None:
    client = serve(held)
    at = opened(client, clips / "plain.mp4")
    client.post(f"{at}/prompt", {"frame": 0, "points": [[5, 7]]})
    for name in FIELDS[path]:
        for value in WRONG:
            for base in (SOUND[path], {}):
                reply = client.post(f"{at}/{path}" if path else BASE, {**base, name: value})
                assert reply.status < 500, (name, value, reply.body)
                assert reply.status == 200 or reply.code.startswith(KINDS)


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b"\xff", b"[" * 100_000, b'{"frame": NaN}', b"null", b'{"frame": 1e999}', b"x" * 100]
)
@pytest.mark.parametrize("path", ["", "/x/prompt", "/x/propagate", "/x/cancel", "/x/lock"])
def test_what_is_not_json_is_refused(serve: Callable[..., Client], path: str, body: bytes) -> None:
    reply = serve().send("POST", BASE + path, body, {"content-type": "application/json"})
    assert (reply.status, reply.code) in {
        (422, "request.json"),
        (404, "video.unknown_session"),
        (422, "request.video"),
        (422, "prompt.empty"),
    }


@pytest.fixture
def session(serve: Callable[..., Client], clips: Path, held: HeldVideoModel) -> tuple[Client, str]:
    client = serve(held)
    return client, opened(client, clips / "plain.mp4")


@pytest.mark.parametrize(
    ("path", "given", "status", "code"),
    [
        ("prompt", {"points": [[5, 7]]}, 422, "request.video"),
        ("prompt", {"frame": 1, "time_s": 0, "points": [[5, 7]]}, 422, "request.video"),
        ("prompt", {"frame": FRAMES, "points": [[5, 7]]}, 422, "request.video"),
        ("prompt", {"frame": 1}, 422, "prompt.empty"),
        ("prompt", {"frame": 1, "points": [[5, 7]] * 1001}, 422, "request.too_many"),
        ("prompt", {"frame": 1, "box": [5, 5, 5, 5]}, 422, "prompt.box"),
        ("prompt", {"frame": 1, "mask": {"size": [2, 2], "counts": "@@@@"}}, 422, None),
        ("prompt", {"frame": 1, "points": [[5, 7]], "object": 1 << 32}, 422, "request.video"),
        ("propagate", {"start": FRAMES}, 422, "request.video"),
        ("propagate", {"start": 1, "start_s": 1}, 422, "request.video"),
        ("propagate", {"frames": 0}, 422, "option.range"),
        ("propagate", {"direction": "up"}, 422, "request.video"),
        ("lock", {"frame": 1}, 422, "request.video"),
        ("lock", {"frame": 1, "object": 1}, 422, "video.no_mask"),
    ],
)  # fmt: skip
def test_what_does_not_fit_the_video(
    session: tuple[Client, str], path: str, given: dict[str, Any], status: int, code: str | None
) -> None:
    client, at = session
    reply = client.post(f"{at}/{path}", given)
    assert (reply.status, code or reply.code) == (status, reply.code)


def test_a_run_needs_an_object(serve: Callable[..., Client], clips: Path, held: HeldVideoModel) -> None:
    client = serve(held)
    at = opened(client, clips / "plain.mp4")
    for reply in (client.post(f"{at}/propagate", {}), client.get(f"{at}/result")):
        assert (reply.status, reply.code) == (422, "prompt.empty")
    with watching(client, f"{at}/propagate", {"redetect": 5}) as watch:
        assert list(watch)[-1].data["error"]["code"] == "option.redetect"
