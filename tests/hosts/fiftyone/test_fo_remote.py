"""The same work with the models in a running `locara-label serve`."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from locara_label.errors import BadImage, BadOption, InferenceFailed, RunError
from locara_label.hosts.fiftyone.clicks import Act, Clicking, Place
from locara_label.hosts.fiftyone.factory import finder
from locara_label.hosts.fiftyone.prelabel import prelabel
from locara_label.hosts.fiftyone.progress import summed
from locara_label.hosts.fiftyone.remote import prompter, segmenter, speller
from locara_label.remote import Server, server_address
from tests.hosts.fiftyone.scenes_dataset import add_scenes, masks_of


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "locara_label", "serve", "--port", str(port), "--model", "mini", "--prelabel-model", "mini"]
    log = tmp_path_factory.mktemp("serve") / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file)
        address = server_address(f"http://127.0.0.1:{port}")
        assert address is not None
        client = Server(address)
        try:
            give_up = time.monotonic() + 90
            while not _serves(client):
                assert process.poll() is None, log.read_text("utf-8", "replace")[-3000:]
                assert time.monotonic() < give_up, "the server did not start"
                time.sleep(0.3)
            yield client
        finally:
            client.close()
            process.terminate()
            process.wait(30)


def _serves(client: Server) -> bool:
    try:
        return bool(client.serving())
    except RunError:
        return False


@pytest.fixture
def scenes(dataset: Any, tmp_path: Path) -> Any:
    add_scenes(dataset, tmp_path, 2)
    return dataset


def test_prelabels_are_the_same(scenes: Any, server: Server) -> None:
    summed(prelabel(scenes, finder("mini"), "here"))
    ran = summed(prelabel(scenes, segmenter(server, None, None, None), "there"))
    assert ran.failed == ()
    for sample in scenes:
        assert masks_of(sample["there"]) == masks_of(sample["here"])
        assert [one.label for one in sample["there"].detections] == [one.label for one in sample["here"].detections]
    only = summed(prelabel(scenes, segmenter(server, None, None, ["circle"]), "circles"))
    assert only.failed == ()
    assert set(scenes.distinct("circles.detections.label")) <= {"circle"}


def test_boxes_and_words_are_the_same(scenes: Any, server: Server) -> None:
    summed(prelabel(scenes, finder("sam2-mini", prompt_field="truth"), "here"))
    summed(prelabel(scenes, prompter(server, None, "truth"), "there"))
    for sample in scenes:
        assert masks_of(sample["there"]) == masks_of(sample["here"])
    ran = summed(prelabel(scenes, speller(server, None, ["circle", "star"]), "words"))
    assert ran.failed == ()
    assert set(scenes.distinct("words.detections.label")) <= {"circle", "star"}


def test_clicks_are_the_same(scenes: Any, server: Server) -> None:
    sample = scenes.first()
    box = masks_of(sample["truth"])[0].box
    acts = [Act("point", ((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2))]
    there = Clicking(server).answer("", Place(sample.filepath), acts)
    here = Clicking().answer("sam2-mini", Place(sample.filepath), acts)
    assert [one.mask for one in there] == [one.mask for one in here]
    assert len(there) == 3


def test_what_a_server_refuses(server: Server, tmp_path: Path) -> None:
    with pytest.raises(BadImage):
        server.segment(b"no picture")
    with pytest.raises(InferenceFailed) as caught:
        server.segment(b"no picture", model="sam2.1-hiera-large")
    assert caught.value.code == "model.not_allowed"


def test_a_server_that_is_not_there(scenes: Any) -> None:
    """The run ends at once, rather than with an error for each of a million samples."""
    address = server_address("http://127.0.0.1:9")
    assert address is not None
    with pytest.raises(RunError) as caught:
        summed(prelabel(scenes, segmenter(Server(address)), "there"))
    assert caught.value.code == "run.server"


def test_addresses() -> None:
    found = server_address("http://me:se%40cret@127.0.0.1:9090/assist/")
    assert found is not None
    assert found.shown == "http://127.0.0.1:9090/assist"
    assert found.credentials == ("me", "se@cret")
    assert "cret" not in repr(found)
    assert server_address("") is None
    for wrong in ("127.0.0.1:9090", "ftp://x", "http://", "http://x?y", "http://[x"):
        with pytest.raises(BadOption):
            server_address(wrong)
