"""Text prompts of Label Studio: labels, messages, the newest text, and what no text may hold up."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from echo_boxes import HERE, HERE_XYWH, THERE, THERE_XYWH, BoxModel

from locara_label import images
from locara_label.hosts.label_studio.regions import read_regions
from locara_label.hosts.label_studio.results import OWN_WORDS
from tests.engine.echo_text_model import EchoTextModel

PICTURE = "/data/upload/1/scene.png"


def textarea(*texts: str, name: str = "t1", **more: object) -> dict:
    return {"value": {"text": list(texts)}, "id": name, "from_name": "prompt", "to_name": "image", "type": "textarea", **more}


def click(x: float = 5, y: float = 5, label: str = "Other") -> dict:
    return {
        "original_width": 64, "original_height": 48, "image_rotation": 0, "is_positive": True,
        "value": {"x": 100 * x / 64, "y": 100 * y / 48, "width": 0.3, "keypointlabels": [label]},
        "id": "k1", "from_name": "point", "to_name": "image", "type": "keypointlabels",
    }  # fmt: skip


def config(*labels: str, area: str = '<TextArea name="prompt" toName="image" smart="true"/>', more: str = "") -> str:
    inside = "".join(label if label.startswith("<") else f'<Label value="{label}"/>' for label in labels)
    return (
        f'<View>{area}<Image name="image" value="$image"/>{more}'
        f'<BitmaskLabels name="mask" toName="image" smart="false">{inside}</BitmaskLabels>'
        f'<KeyPointLabels name="point" toName="image" smart="true" smartOnly="true">{inside}</KeyPointLabels></View>'
    )


def body(xml: str, *regions: dict, task: int = 7, picture: object = PICTURE) -> dict:
    tasks = [{"id": task, "data": {"image": picture}, "annotations": [], "predictions": []}]
    return {"tasks": tasks, "project": "3.1", "label_config": xml, "params": {"context": {"result": list(regions)}}}


CAR, OTHER = (("Car",), HERE_XYWH), (("Other",), THERE_XYWH)
TWO = config(f'<Label value="Car" predicted_values="{HERE}"/>', f'<Label value="Other" predicted_values="{THERE}"/>')


@pytest.fixture
def models() -> tuple[BoxModel, EchoTextModel]:
    return BoxModel(), EchoTextModel()


@pytest.fixture
def client(start, files, models):
    files.content[PICTURE] = images.encode_png(np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8))
    return start(prelabel=False, prompt_model=models[0], text_model=models[1])


def found(client, xml: str, *regions: dict) -> list[tuple[tuple[str, ...], tuple[int, ...]]]:
    """Labels and box of each mask of the answer."""
    result = client.post("/predict", body(xml, *regions)).json()["results"][0]["result"]
    return [(one.labels, tuple(map(int, one.mask.box.xywh))) for one in read_regions(result).masks]


def told(client, xml: str, *regions: dict) -> str:
    """The one text of the answer."""
    result = client.post("/predict", body(xml, *regions)).json()["results"][0]["result"]
    [text] = [region["value"]["text"][0] for region in result if region["type"] == "textarea"]
    assert text.startswith(OWN_WORDS)
    return text.removeprefix(OWN_WORDS)


def test_each_phrase_goes_under_its_label(client) -> None:
    assert sorted(found(client, TWO, textarea(f"{THERE.upper()}. {HERE}"))) == [CAR, OTHER]


def test_a_region_tells_what_was_asked_for(client) -> None:
    (region,) = client.post("/predict", body(TWO, textarea(HERE))).json()["results"][0]["result"]
    assert (region["type"], region["from_name"], region["to_name"], region["score"]) == ("bitmasklabels", "mask", "image", 0.9)
    assert (region["meta"]["phrase"], region["meta"]["mask_score"]) == (HERE, 0.5)
    assert region["meta"]["model_version"] == client.service.version


@pytest.mark.parametrize(
    "texts", [(HERE, THERE), ("nothing", THERE), (HERE, "", THERE), (HERE, THERE, ""), (HERE, THERE, f"{OWN_WORDS}nothing")]
)
def test_the_newest_text_wins(client, texts: tuple[str, ...]) -> None:
    assert found(client, TWO, textarea(*texts)) == [OTHER]
    assert found(client, TWO, *(textarea(text, name=str(place)) for place, text in enumerate(texts))) == [OTHER]


def test_our_own_message_alone_asks_nothing(client) -> None:
    assert client.post("/predict", body(TWO, textarea(f"{OWN_WORDS}nothing was found"))).json()["results"][0]["result"] == []


def test_a_lone_text_counts_as_a_list(client) -> None:
    assert found(client, TWO, {**textarea(), "value": {"text": HERE}}) == [CAR]


def test_clicks_win_over_text(client, models) -> None:
    (one,) = found(client, TWO, textarea(HERE), click())
    assert one[0] == ("Other",)
    assert models[1].asked == []


def test_a_label_that_comes_with_the_text_is_taken(client) -> None:
    assert found(client, TWO, textarea(f"{HERE}. {THERE}", labels=["x"]) | {"value": {"text": [HERE], "labels": ["Other"]}}) == [
        (("Other",), CAR[1])
    ]


def test_the_only_label_takes_everything(client) -> None:
    assert found(client, config("Cell"), textarea(HERE)) == [(("Cell",), CAR[1])]
    both = config("Cell", more='<PolygonLabels name="p" toName="image" smart="false"><Label value="Dust"/></PolygonLabels>')
    assert "no label stands for" in told(client, both, textarea(HERE))


def test_masks_without_labels_get_none(client) -> None:
    bare = (
        '<View><Image name="image" value="$image"/><Brush name="m" toName="image" smart="false"/>'
        '<TextArea name="prompt" toName="image" smart="true"/></View>'
    )
    assert found(client, bare, textarea(HERE)) == [((), CAR[1])]


def test_nothing_found_is_told(client) -> None:
    xml = config("Car", "Zebra")
    assert told(client, xml, textarea("Zebra. a CAR")) == 'nothing was found for "zebra", "a car"'
    bare = config("Car", "Zebra", area="")
    reply = client.post("/predict", body(bare, textarea("zebra")))
    assert (reply.status, reply.code) == (422, "prompt.nothing")


def test_what_is_found_is_shown_beside_what_is_not(client) -> None:
    xml = config(f'<Label value="Car" predicted_values="{HERE}"/>', "Zebra")
    words = textarea(f"{HERE}. zebra. flibbertigibbet")
    assert found(client, xml, words) == [CAR]
    assert told(client, xml, words) == (
        'nothing was found for "zebra". no label stands for "flibbertigibbet"; labels are "Car", "Zebra"'
    )


def test_a_phrase_without_a_label_is_dropped_counted_and_told(client, models) -> None:
    assert "no label stands for" in told(client, config("Car", "Zebra"), textarea(f"{HERE}. {THERE}"))
    assert models[1].asked == []
    assert 'locara_unmapped_total{label="(typed)"} 2.0' in client.get("/metrics").body.decode()
    assert found(client, TWO, textarea(f"{HERE}. blob")) == [CAR]
    page = client.get("/metrics").body.decode()
    assert 'locara_unmapped_total{label="(typed)"} 3.0' in page
    assert "blob" not in page


def test_the_score_that_a_label_asks_for_is_obeyed(client) -> None:
    sure = f'<Label value="Car" predicted_values="{HERE}" model_score_threshold="0.95"/>'
    assert told(client, config(sure, "Zebra"), textarea(HERE)) == f'"{HERE}" has a score of 0.90, Car asks for 0.95'


def test_thresholds_of_the_server_reach_the_model(start, files, models) -> None:
    files.content[PICTURE] = images.encode_png(np.zeros((48, 64, 3), np.uint8))
    client = start(prelabel=False, prompt_model=models[0], text_model=models[1], box_threshold=0.95, text_threshold=0.1)
    assert "nothing was found" in told(client, TWO, textarea(HERE))
    assert (models[1].asked[0].box_threshold, models[1].asked[0].text_threshold) == (0.95, 0.1)


def test_more_than_the_most_are_told(start, files, models) -> None:
    files.content[PICTURE] = images.encode_png(np.zeros((48, 64, 3), np.uint8))
    client = start(prelabel=False, prompt_model=models[0], text_model=models[1], max_regions=1)
    words = textarea(f"{HERE}. {THERE}")
    assert len(found(client, TWO, words)) == 1
    assert "1 more were found than are shown" in told(client, TWO, words)


@pytest.mark.parametrize("text", [" ", ". .", "word " * 10_000, "x" * 900_000, "\x00\x01", "\ud800", "фиолетовое 心臓 🫀", "?"])
def test_any_text_is_answered(client, text: str) -> None:
    assert told(client, config("Car", "Zebra"), textarea(text))
    assert told(client, config("Car"), textarea(text))


def test_a_text_about_an_unknown_page_is_refused(client) -> None:
    xml = config("Cell").replace('value="$image"', 'valueList="$image"')
    pages = [PICTURE, PICTURE]
    result = client.post("/predict", body(xml, textarea(HERE), picture=pages)).json()["results"][0]["result"]
    assert "perItem" in result[0]["value"]["text"][0]
    (region,) = client.post("/predict", body(xml, textarea(HERE, item_index=1), picture=pages)).json()["results"][0]["result"]
    assert region["item_index"] == 1
    each = xml.replace('name="prompt"', 'name="prompt" perItem="true"')
    (told_of,) = client.post("/predict", body(each, textarea(" ", item_index=1), picture=pages)).json()["results"][0]["result"]
    assert (told_of["type"], told_of["item_index"]) == ("textarea", 1)
    (region,) = client.post("/predict", body(xml, textarea(HERE), picture=pages[:1])).json()["results"][0]["result"]
    assert region["item_index"] == 0


def test_a_changed_picture_is_told(client) -> None:
    words = textarea(HERE, original_width=10, original_height=10)
    assert "it was changed" in told(client, TWO, words)


def test_a_newer_text_replaces_the_one_before(client, models) -> None:
    """Both models are held up; the older request ends as soon as the newer one comes."""
    assert found(client, TWO, textarea(HERE)) == [CAR]
    models[1].go_on.clear()
    replies: list[tuple[int, str]] = []

    def ask(text: str) -> None:
        reply = client.post("/predict", body(TWO, textarea(text)))
        replies.append((reply.status, reply.code if reply.status != 200 else ""))

    threads = [threading.Thread(target=ask, args=[text]) for text in (HERE, THERE)]
    models[1].entered.clear()
    threads[0].start()
    assert models[1].entered.wait(20)
    threads[1].start()
    threads[0].join(20)
    assert replies == [(409, "run.replaced")]
    models[1].go_on.set()
    threads[1].join(20)
    assert replies[1:] == [(200, "")]


def test_a_text_holds_up_no_click_on_a_known_picture(client, models) -> None:
    assert found(client, TWO, click())
    models[1].go_on.clear()
    waiting = threading.Thread(target=lambda: client.post("/predict", body(TWO, textarea(HERE))))
    models[1].entered.clear()
    waiting.start()
    assert models[1].entered.wait(20)
    for _ in range(5):
        assert found(client, TWO, click())
    assert waiting.is_alive()
    models[1].go_on.set()
    waiting.join(20)


def test_the_picture_is_read_once_and_encoded_once_by_each_model(client, files, models) -> None:
    for _ in range(2):
        assert found(client, TWO, textarea(HERE)) == [CAR]
    assert found(client, TWO, click())
    assert (len(models[0].encoded), len(models[1].encoded)) == (1, 1)
    assert [path for path, _ in files.asked].count(PICTURE) == 1


def test_a_text_has_a_time_limit_of_its_own(start, files, models) -> None:
    files.content[PICTURE] = images.encode_png(np.zeros((48, 64, 3), np.uint8))
    client = start(prelabel=False, prompt_model=models[0], text_model=models[1], text_s=0.2)
    models[1].go_on.clear()
    assert "no answer within 0.2 s" in told(client, TWO, textarea(HERE))
    models[1].go_on.set()
    assert found(client, TWO, click())


def test_what_answers_text_is_said(client, start) -> None:
    assert client.get("/ready").json()["models"] == {"clicks": "echo", "text": "echo-text", "video": "classic"}
    assert client.get("/v1/models").json()["serving"]["text"] == "echo-text"
    found(client, TWO, textarea(HERE))
    assert "locara_text_prompts 1.0" in client.get("/metrics").body.decode()
    assert "locara_text_prompts" not in start().get("/metrics").body.decode()
