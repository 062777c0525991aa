"""Pre-labels by a model that looks for the labels of each project, and the service that the settings make of it."""

from __future__ import annotations

import numpy as np
import pytest
from echo_boxes import HERE, HERE_XYWH, THERE, THERE_XYWH, BoxModel

from locara_label import images
from locara_label.errors import BadOption, NotDownloaded
from locara_label.hosts.label_studio.regions import read_regions
from locara_label.models.grounded import GroundedSam2
from locara_label.server import opening
from locara_label.server.opening import open_service
from locara_label.settings import load as load_settings
from tests.engine.echo_text_model import EchoTextModel

PICTURE = "/data/upload/1/scene.png"


def config(first: str = HERE, second: str = THERE, extra: str = "") -> str:
    labels = f'<Label value="Car" predicted_values="{first}" {extra}/><Label value="Other" predicted_values="{second},zebra"/>'
    return (
        '<View><TextArea name="told" toName="image" smart="false"/><Image name="image" value="$image"/>'
        f'<BitmaskLabels name="mask" toName="image" smart="false">{labels}</BitmaskLabels>'
        f'<KeyPointLabels name="point" toName="image" smart="true" smartOnly="true">{labels}</KeyPointLabels></View>'
    )


def batch(xml: str, *tasks: int) -> dict:
    return {"tasks": [{"id": task, "data": {"image": PICTURE}} for task in tasks], "project": "3.1", "label_config": xml}


@pytest.fixture
def models() -> tuple[BoxModel, EchoTextModel]:
    return BoxModel(), EchoTextModel()


@pytest.fixture
def client(start, files, models):
    files.content[PICTURE] = images.encode_png(np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8))
    return start(prelabel=GroundedSam2(models[1], models[0]), prompt_model=models[0], text_model=models[1], api_key=None)


def drawn(entry: dict) -> list[tuple[tuple[str, ...], tuple[int, ...]]]:
    return sorted((one.labels, tuple(map(int, one.mask.box.xywh))) for one in read_regions(entry["result"]).masks)


def test_the_labels_of_the_project_are_looked_for(client, models) -> None:
    first, second = client.post("/predict", batch(config(), 1, 2)).json()["results"]
    assert drawn(first) == drawn(second) == [(("Car",), HERE_XYWH), (("Other",), THERE_XYWH)]
    assert models[1].asked[0].phrases == (HERE, THERE, "zebra")
    assert first["model_version"] == client.service.version == "echo-text+echo"
    assert first["score"] == pytest.approx(0.9)


def test_each_project_has_its_own_labels(client) -> None:
    (entry,) = client.post("/predict", batch(config(THERE, HERE), 1)).json()["results"]
    assert drawn(entry) == [(("Car",), THERE_XYWH), (("Other",), HERE_XYWH)]
    (entry,) = client.post("/predict", batch(config(), 1)).json()["results"]
    assert drawn(entry) == [(("Car",), HERE_XYWH), (("Other",), THERE_XYWH)]


def test_the_picture_is_encoded_once_for_pre_labels_and_clicks(client, models) -> None:
    client.post("/predict", batch(config(), 1))
    client.post("/predict", batch(config("nothing", HERE), 1))
    assert (len(models[0].encoded), len(models[1].encoded)) == (1, 1)


def test_nothing_found_is_an_empty_prediction(client) -> None:
    (entry,) = client.post("/predict", batch(config("dog", "cat"), 1)).json()["results"]
    assert entry["result"] == []


def test_the_score_that_a_label_asks_for_is_obeyed(client) -> None:
    (entry,) = client.post("/predict", batch(config(extra='model_score_threshold="0.95"'), 1)).json()["results"]
    assert drawn(entry) == [(("Other",), THERE_XYWH)]


def test_a_config_without_words_is_refused(client) -> None:
    bare = '<View><Image name="image" value="$image"/><Brush name="m" toName="image"/></View>'
    reply = client.post("/predict", batch(bare, 1))
    assert (reply.status, reply.code) == (422, "config.unusable")


def test_who_pre_labels_is_said(client, start, models) -> None:
    assert client.get("/ready").json()["models"] == {
        "clicks": "echo",
        "text": "echo-text",
        "prelabels": "echo-text+echo",
        "video": "classic",
    }
    assert client.service.said == "echo answers clicks; echo-text answers text; echo-text+echo pre-labels"
    own = start(prelabel=GroundedSam2(models[1], models[0]), prompt_model=models[0])
    assert own.get("/ready").json()["models"] == {"clicks": "echo", "prelabels": "echo-text+echo", "video": "classic"}
    assert start(prelabel=False).service.said == "classic answers clicks; nothing answers text; nothing pre-labels"


def opened(**server: str):
    service = open_service(load_settings(server=server))
    try:
        return service, service.state()["models"]
    finally:
        service.close()


def test_text_is_understood_out_of_the_box() -> None:
    _, served = opened()
    assert served == {"clicks": "classic", "text": "grounding-dino-mini", "video": "classic"}


def test_a_text_model_that_nobody_named_fails_alone(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Where it was not shipped, or a library of it is missing, clicks are answered all the same."""
    monkeypatch.setattr(opening, "DEFAULT_TEXT_MODEL", "grounding-dino-tiny")
    assert opened()[1] == {"clicks": "classic", "video": "classic"}
    assert "text prompts are not answered: [model.not_downloaded]" in caplog.text
    with pytest.raises(NotDownloaded):
        opened(text_model="grounding-dino-tiny")
    with pytest.raises(NotDownloaded):
        opened(prelabel_model="grounding-dino-tiny+classic")


def test_none_switches_text_off() -> None:
    assert opened(text_model="none")[1] == {"clicks": "classic", "video": "classic"}
    with pytest.raises(BadOption) as caught:
        opened(text_model="none", prelabel_model="grounded-sam2")
    assert caught.value.code == "option.text_model"


def test_a_pair_takes_the_servers_own_models() -> None:
    service, served = opened(prelabel_model="grounded-sam2", model="sam2-mini")
    both = "grounding-dino-mini+sam2-mini"
    assert served == {"clicks": "sam2-mini", "text": "grounding-dino-mini", "prelabels": both, "video": "classic"}
    assert service.version.startswith(f"{both}-")
    assert len(service.version) == len(both) + 9
    assert service.prelabel_engine(("x",)).segmentation_model.name == both


def test_a_named_pair_keeps_its_models() -> None:
    service, served = opened(prelabel_model="grounding-dino-mini+classic", model="sam2-mini")
    assert served == {
        "clicks": "sam2-mini",
        "text": "grounding-dino-mini",
        "prelabels": "grounding-dino-mini+classic",
        "video": "classic",
    }
    other, _ = opened(prelabel_model="grounded-sam2")
    assert service.version == other.version
