"""What is kept of requests that were answered: ids and times, nothing else; and what is not worth a click."""

from __future__ import annotations

import sqlite3
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import tasking
import test_texting
from echo_boxes import HERE, THERE, BoxModel
from test_annotating import PICTURE, body, inside, keypoint, task

from locara_label import images
from locara_label.hosts.label_studio.masklets import MaskletStore
from locara_label.hosts.label_studio.review_efforts import efforts
from locara_label.hosts.label_studio.review_store import Answer, AnswerStore, Asked
from tests.engine.echo_text_model import EchoTextModel

WAIT_S = 60.0
label_studio, server = tasking.label_studio, tasking.server


def stored(tmp_path: Path, count: int, project: int = 3) -> tuple[Answer, ...]:
    """Waits until so many requests are recorded, as that happens behind the answers' backs."""
    give_up = time.monotonic() + WAIT_S
    found: tuple[Answer, ...] = ()
    while len(found) < count and time.monotonic() < give_up:
        time.sleep(0.02)
        if (tmp_path / "data" / "masklets.sqlite3").is_file():
            with MaskletStore(tmp_path / "data" / "masklets.sqlite3") as store:
                found = AnswerStore(store).of_project(project)
    return found


def ids(reply) -> tuple[str, ...]:
    return tuple(one["id"] for one in reply.json()["results"][0]["result"])


@pytest.fixture
def point(scene) -> tuple[float, float]:
    return inside(max(scene.objects, key=lambda item: item.mask.sum()).mask)


def test_clicks_are_recorded_with_their_times(start, config, point, tmp_path: Path) -> None:
    client = start(prelabel=False)
    before = time.time()
    first = client.post("/predict", body(config, [task()], {"result": [keypoint(*point)]}))
    between = time.time()
    second = client.post("/predict", body(config, [task()], {"result": [keypoint(*point), keypoint(*point, name="k2")]}))
    after = time.time()
    found = stored(tmp_path, 2)
    assert [one.objects for one in found] == [(Asked(("k1",), ids(first)),), (Asked(("k1", "k2"), ids(second)),)]
    assert {(one.project, one.task, one.kind, one.model) for one in found} == {(3, 7, "click", "classic")}
    assert before <= found[0].at_s <= between <= found[1].at_s <= after
    assert found[0].at_s + found[0].seconds <= between + 0.001
    [effort] = efforts(found)
    assert (effort.clicks, effort.regions) == (2, ids(first) + ids(second))


def test_objects_of_one_request_are_told_apart(start, config, scene, tmp_path: Path) -> None:
    client = start(prelabel=False)
    places = [inside(item.mask) for item in scene.objects[:2]]
    shown = [keypoint(*places[0], name="a", label="star"), keypoint(*places[1], name="b", label="circle")]
    reply = client.post("/predict", body(config, [task()], {"result": shown}))
    [answer] = stored(tmp_path, 1)
    assert answer.objects == tuple(Asked((name,), (one,)) for name, one in zip("ab", ids(reply), strict=True))


def test_what_failed_is_recorded_without_an_answer(start, config, tmp_path: Path) -> None:
    client = start(prelabel=False)
    told = client.post("/predict", body(config, [task(picture="/data/upload/1/none.png")], {"result": [keypoint(5, 5)]}))
    assert ids(told)
    bare = config[: config.index("<TextArea")] + "</View>"
    assert client.post("/predict", body(bare, [task(8, "/data/upload/1/none.png")], {"result": [keypoint(5, 5)]})).status == 422
    found = stored(tmp_path, 2)
    assert [(one.task, one.objects) for one in found] == [(7, (Asked(("k1",), ()),)), (8, (Asked(("k1",), ()),))]


def test_batches_empty_contexts_and_events_are_not_recorded(start, config, point, tmp_path: Path) -> None:
    client = start()
    client.post("/predict", body(config, [task()]))
    client.post("/predict", body(config, [task()], {"result": []}))
    client.post("/webhook", {"action": "ANNOTATION_CREATED", "task": {"id": 7}, "project": {"id": 3}})
    client.post("/predict", body(config, [task(None)], {"result": [keypoint(*point)]}) | {"project": "3.1"})
    client.post("/predict", body(config, [task()], {"result": [keypoint(*point)]}))
    [one] = stored(tmp_path, 1)
    assert one.task == 7


def test_nothing_but_ids_and_times_is_kept(start, config, point, tmp_path: Path) -> None:
    client = start(prelabel=False)
    client.post("/predict", body(config, [task()], {"result": [keypoint(*point)]}))
    [answer] = stored(tmp_path, 1)
    with sqlite3.connect(tmp_path / "data" / "masklets.sqlite3") as database:
        [row] = database.execute("SELECT * FROM answers").fetchall()
    database.close()
    kept = [row[0], 3, 7, answer.at_s, answer.seconds, "click", "classic", f'[[["k1"], ["{answer.objects[0].regions[0]}"]]]']
    assert list(row) == kept
    content = b"".join(path.read_bytes() for path in (tmp_path / "data").iterdir())
    assert PICTURE.encode() not in content
    assert b"star" not in content


def test_texts_are_recorded_by_what_they_found(start, files, tmp_path: Path) -> None:
    files.content[PICTURE] = images.encode_png(np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8))
    client = start(prelabel=False, prompt_model=BoxModel(), text_model=EchoTextModel())
    reply = client.post("/predict", test_texting.body(test_texting.TWO, test_texting.textarea(f"{HERE}. {THERE}. nothing")))
    regions = reply.json()["results"][0]["result"]
    assert [one["type"] for one in regions] == ["bitmasklabels", "bitmasklabels", "textarea"]
    [answer] = stored(tmp_path, 1)
    assert (answer.kind, answer.model) == ("text", EchoTextModel.name)
    assert answer.objects == (Asked(("t1",), tuple(one["id"] for one in regions[:2])),)


def test_recording_can_be_switched_off(start, config, point, tmp_path: Path) -> None:
    client = start(prelabel=False, record=False)
    assert ids(client.post("/predict", body(config, [task()], {"result": [keypoint(*point)]})))
    client.service.close()
    assert not (tmp_path / "data").exists()


def test_what_waits_is_written_at_the_end(start, config, point, tmp_path: Path) -> None:
    client = start(prelabel=False)
    for _ in range(3):
        client.post("/predict", body(config, [task()], {"result": [keypoint(*point)]}))
    client.service.close()
    with MaskletStore(tmp_path / "data" / "masklets.sqlite3") as store:
        assert len(AnswerStore(store).of_project(3)) == 3
    assert "recording" not in {thread.name for thread in threading.enumerate()}


def test_a_store_that_fails_costs_no_click_and_is_told_once(start, config, point, tmp_path: Path, caplog) -> None:
    (tmp_path / "data").write_text("no folder")
    client = start(prelabel=False)
    for _ in range(2):
        assert ids(client.post("/predict", body(config, [task()], {"result": [keypoint(*point)]})))
    client.service.close()
    assert 'locara_errors_total{code="store.refused"}' in client.get("/metrics").body.decode()
    assert sum("answers are not recorded: [store.refused]" in one.message for one in caplog.records) == 1


def test_ids_that_are_not_label_studios_fill_no_disk(start, config, point, tmp_path: Path) -> None:
    client = start(prelabel=False)
    client.post("/predict", body(config, [task()], {"result": [keypoint(*point, name="x" * 900)]}))
    [answer] = stored(tmp_path, 1)
    assert answer.objects[0].prompts == ()


def test_tracks_are_recorded_by_their_boxes(server, tmp_path: Path) -> None:
    client = server()
    tasking.asked(client, tasking.shape(tasking.drawn()), task=2)
    [answer] = stored(tmp_path, 1, project=1)
    assert (answer.task, answer.kind, answer.model) == (2, "video", "classic")
    assert answer.objects == (Asked(("r1",), ("r1",)),)
