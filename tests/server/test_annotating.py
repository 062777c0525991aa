"""Label Studio's requests beyond the recorded ones: failures that are told, batches, pages, refinement."""

from __future__ import annotations

import time

import pytest

from locara_label.errors import FetchFailed
from locara_label.hosts.label_studio.regions import read_regions
from locara_label.types import Mask

PICTURE = "/data/upload/1/scene.png"


def task(number: int = 7, picture: object = PICTURE) -> dict:
    return {"id": number, "data": {"image": picture}, "annotations": [], "predictions": []}


def keypoint(x: float, y: float, *, positive: bool = True, label: str = "star", name: str = "k1", size=(480, 640)) -> dict:
    return {
        "original_width": size[1], "original_height": size[0], "image_rotation": 0,
        "value": {"x": 100 * x / size[1], "y": 100 * y / size[0], "width": 0.3, "keypointlabels": [label]},
        "is_positive": positive, "id": name, "from_name": "kp", "to_name": "image", "type": "keypointlabels", "origin": "manual",
    }  # fmt: skip


def body(config: str, tasks: list, context: dict | None = None) -> dict:
    params = {"login": None, "password": None, "context": context}
    return {"tasks": tasks, "project": "3.1", "label_config": config, "params": params}


def inside(mask) -> tuple[float, float]:
    rows, columns = mask.nonzero()
    middle = len(rows) // 2
    return float(columns[middle]) + 0.5, float(rows[middle]) + 0.5


def test_a_click_gives_the_object(start, config, scene) -> None:
    target = max(scene.objects, key=lambda item: item.mask.sum())
    reply = start().post("/predict", body(config, [task()], {"result": [keypoint(*inside(target.mask))]}))
    (found,) = read_regions(reply.json()["results"][0]["result"]).masks
    assert found.labels == ("star",)
    assert found.mask.iou(Mask.from_array(target.mask)) > 0.7
    assert Mask.from_coco(found.meta["coco_rle"]) == found.mask


def test_a_drawn_mask_is_refined_under_its_own_id(start, config, scene) -> None:
    target = max(scene.objects, key=lambda item: item.mask.sum())
    client = start()
    first = client.post("/predict", body(config, [task()], {"result": [keypoint(*inside(target.mask))]})).json()
    region = first["results"][0]["result"][0]
    refined = client.post("/predict", body(config, [task()], {"result": [region]})).json()["results"][0]["result"]
    (found,) = read_regions(refined).masks
    assert (found.id, found.labels) == (region["id"], ("star",))
    assert found.mask.iou(Mask.from_array(target.mask)) > 0.6


def test_alternatives_are_offered_when_asked(start, config, scene) -> None:
    target = max(scene.objects, key=lambda item: item.mask.sum())
    reply = start(candidates=3).post("/predict", body(config, [task()], {"result": [keypoint(*inside(target.mask))]}))
    regions = reply.json()["results"][0]["result"]
    assert [region["meta"].get("candidate", 1) for region in regions] == [1, 2, 3]
    assert len({region["id"] for region in regions}) == 3


@pytest.mark.parametrize(
    ("region", "words"),
    [
        (keypoint(5, 5, positive=False), "negative"),
        (keypoint(5, 5, size=(100, 100)), "it was changed"),
    ],
)
def test_the_annotator_is_told_what_went_wrong(start, config, region, words: str) -> None:
    client = start()
    reply = client.post("/predict", body(config, [task()], {"result": [region]}))
    if reply.status == 200:
        (told,) = reply.json()["results"][0]["result"]
        assert told["type"] == "textarea"
        assert words in told["value"]["text"][0]
    else:
        assert words in reply.json()["error"]["message"]


def test_without_a_text_area_a_failure_is_an_error(start, config) -> None:
    bare = config[: config.index("<TextArea")] + "</View>"
    reply = start().post("/predict", body(bare, [task(picture="/data/upload/1/none.png")], {"result": [keypoint(5, 5)]}))
    assert (reply.status, reply.code) == (422, "fetch.not_found")


def test_a_batch_keeps_what_works_and_tells_the_rest(start, config) -> None:
    client = start()
    tasks = [task(1), task(2, "/data/upload/1/none.png"), task(3)]
    content = client.post("/predict", body(config, tasks)).json()
    good, told, other = content["results"]
    assert [region["type"] for region in good["result"]] == ["brushlabels"] * len(good["result"])
    assert good["result"]
    assert len(other["result"]) == len(good["result"])
    assert [region["type"] for region in told["result"]] == ["textarea"]
    bare = config[: config.index("<TextArea")] + "</View>"
    assert client.post("/predict", body(bare, tasks)).json()["results"][1] == []


def test_without_a_model_for_it_a_batch_leaves_the_tasks_alone(start, config) -> None:
    content = start(prelabel=False).post("/predict", body(config, [task(1), task(2)])).json()
    assert content["results"] == [[], []]


def test_what_does_not_fit_in_the_time_is_left_for_the_next_request(start, config) -> None:
    content = start(predict_s=0.001, api_key=None).post("/predict", body(config, [task(n) for n in range(40)])).json()
    assert len(content["results"]) == 40
    assert content["results"][-1] == []


@pytest.mark.parametrize(("share", "told"), [(1.0, False), (0.2, True)])
def test_a_picture_that_comes_too_late(start, config, monkeypatch: pytest.MonkeyPatch, share: float, *, told: bool) -> None:
    """It is told where its server is slow, and not where the time of the request is over."""

    def read(*_: object, deadline_s: float, **__: object) -> bytes:
        time.sleep(share * deadline_s)
        raise FetchFailed("it took longer than its deadline", code="fetch.timeout")

    monkeypatch.setattr("locara_label.fetch.fetcher.Fetcher.read", read)
    (found,) = start(predict_s=1, api_key=None).post("/predict", body(config, [task(1)])).json()["results"]
    assert [region["type"] for region in (found["result"] if found else [])] == ["textarea"] * told


def test_several_pictures_and_pages(start, mini, scene) -> None:
    labels = "".join(f'<Label value="{label.name}"/>' for label in mini.labels if not label.is_stuff)
    both = (
        '<View><Image name="a" value="$one"/><Image name="b" valueList="$pages"/>'
        f'<BrushLabels name="x" toName="a" smart="false">{labels}</BrushLabels>'
        f'<BitmaskLabels name="y" toName="b" smart="false">{labels}</BitmaskLabels>'
        f'<KeyPointLabels name="kp" toName="b" smart="true" smartOnly="true">{labels}</KeyPointLabels></View>'
    )
    asked = {"id": 1, "data": {"one": PICTURE, "pages": [PICTURE, PICTURE]}}
    client = start()
    regions = client.post("/predict", body(both, [asked])).json()["results"][0]["result"]
    assert {(region["to_name"], region.get("item_index")) for region in regions} == {("a", None), ("b", 0), ("b", 1)}
    click = {**keypoint(*inside(scene.objects[-1].mask)), "to_name": "b", "item_index": 1}
    (region,) = client.post("/predict", body(both, [asked], {"result": [click]})).json()["results"][0]["result"]
    assert (region["type"], region["to_name"], region["item_index"]) == ("bitmasklabels", "b", 1)


def test_opening_a_task_warms_its_picture(start, config, scene) -> None:
    client = start(prelabel=False)
    client.post("/predict", body(config, [task()]))
    for _ in range(200):
        if client.service.engine.counts.encodes:
            break
        client.get("/health")
    client.post("/predict", body(config, [task()], {"result": [keypoint(*inside(scene.objects[-1].mask))]}))
    assert client.service.engine.counts.encodes == 1
    assert client.service.engine.counts.embedding_hits == 1


def test_unmapped_classes_are_counted(start, config) -> None:
    client = start(threshold=0.0)
    client.post("/predict", body(config, [task()]))
    assert 'locara_unmapped_total{label="' in client.get("/metrics").body.decode()


class Broken:
    """A model with a bug."""

    name = identity = "broken"
    provider = "none"
    refines = False
    labels = ()

    def encode(self, image, limit=None):
        raise ZeroDivisionError("canary")

    decode_many = decode = encode

    def segment(self, image, threshold=None, limit=None):
        raise ZeroDivisionError("canary")


def test_a_bug_is_a_coded_answer_without_its_details(start, config, scene, caplog) -> None:
    client = start(prompt_model=Broken())
    reply = client.post("/predict", body(config, [task()], {"result": [keypoint(*inside(scene.objects[-1].mask))]}))
    assert (reply.status, reply.code) == (500, "internal")
    assert b"canary" not in reply.body
    assert "canary" in caplog.text
    assert client.get("/health").status == 200


def test_a_bug_costs_a_batch_one_task(start, config, monkeypatch, mini) -> None:
    client = start()
    calls = iter([True, False, True])
    real = mini.segment

    def segment(image, threshold=None, limit=None):
        if not next(calls):
            raise ZeroDivisionError("canary")
        return real(image, threshold, limit)

    monkeypatch.setattr(mini, "segment", segment, raising=False)
    results = client.post("/predict", body(config, [task(1), task(2), task(3)])).json()["results"]
    assert [bool(entry) for entry in results] == [True, False, True]
