"""Which label a phrase stands for, and what the labels of a project ask for."""

from __future__ import annotations

import numpy as np
import pytest

from locara_label.errors import BadRequest
from locara_label.hosts.label_studio.config import parse
from locara_label.hosts.label_studio.label_map import map_labels
from locara_label.hosts.label_studio.phrases import label_phrases, of_config, place_of
from locara_label.models.grounded import GroundedSam2
from tests.engine.echo_model import EchoModel
from tests.engine.echo_text_model import EchoTextModel


def label(value: str, extra: str = "") -> str:
    return f'<Label value="{value}" {extra}/>'


def control(kind: str, name: str, *labels: str, extra: str = "") -> str:
    return f'<{kind} name="{name}" toName="i" smart="false" {extra}>{"".join(labels)}</{kind}>'


def view(*controls: str) -> str:
    return f'<View><Image name="i" value="$i"/>{"".join(controls)}</View>'


def placed(phrase: str, xml: str, chosen: str | None = None) -> tuple[str, str | None] | None:
    place = place_of(phrase, parse(xml).outputs("i"), chosen)
    return None if place is None else (place.output.shape.name, place.label)


STREET = view(
    control(
        "BrushLabels", "m", label("Car", 'predicted_values="jeep,Traffic_Jam"'), label("Traffic light"), label("light"),
        label("St. Bernard"), label("Person", 'model_skip="true"'), label("two wheels", 'alias="bike"'),
    )
)  # fmt: skip


@pytest.mark.parametrize(
    ("phrase", "wanted"),
    [
        ("car", "Car"),
        ("jeep", "Car"),
        ("red jeep", "Car"),
        ("traffic jam", "Car"),
        ("red car", "Car"),
        ("a car on the left", "Car"),
        ("traffic light", "Traffic light"),
        ("green traffic light", "Traffic light"),
        ("traffic-light", "Traffic light"),
        ("warm light", "light"),
        ("st bernard", "St. Bernard"),
        ("bike", "bike"),
        ("two wheels", "bike"),
        ("oscar", None),
        ("carpet", None),
        ("light of a car", None),
        ("person", None),
        ("small person", None),
        ("zebra", None),
    ],
)
def test_the_label_of_a_phrase(phrase: str, wanted: str | None) -> None:
    assert placed(phrase, STREET) == (None if wanted is None else ("m", wanted))


def test_a_chosen_label_is_taken_where_masks_can_have_it() -> None:
    assert placed("zebra", STREET, "Car") == ("m", "Car")
    assert placed("car", STREET, "Bus") is None


def test_the_first_control_with_the_label_gets_the_mask() -> None:
    xml = view(control("PolygonLabels", "p", label("Car"), label("Bus")), control("BitmaskLabels", "b", label("Car")))
    assert [placed(phrase, xml) for phrase in ("car", "bus", "red bus")] == [("b", "Car"), ("p", "Bus"), ("p", "Bus")]


def test_the_only_label_and_none_at_all() -> None:
    same = view(control("BrushLabels", "m", label("Cell")), control("PolygonLabels", "p", label("Cell")))
    assert placed("zebra", same) == ("m", "Cell")
    assert placed("zebra", view(control("Brush", "m"))) == ("m", None)
    assert place_of("zebra", []) is None


def test_the_least_score_of_a_label_or_its_control() -> None:
    labels = label("Car", 'model_score_threshold="0.7"'), label("Bus")
    outputs = parse(view(control("BrushLabels", "m", *labels, extra='model_score_threshold="0.4"'))).outputs("i")
    assert [place_of(phrase, outputs).threshold for phrase in ("red car", "bus")] == [0.7, 0.4]


def test_labels_as_phrases() -> None:
    assert label_phrases(STREET) == ("jeep", "traffic jam", "traffic light", "light", "st bernard", "two wheels")


def test_labels_of_all_controls_are_looked_for_once() -> None:
    two = view(
        control("BrushLabels", "m", label("Car"), label("?")),
        control("PolygonLabels", "p", label("car"), label("Bus")),
        control("BitmaskLabels", "b", label("Skipped"), extra='model_skip="true"'),
        '<KeyPointLabels name="k" toName="i" smart="true" smartOnly="true"><Label value="Click"/></KeyPointLabels>',
    )
    assert label_phrases(two) == ("car", "bus")


@pytest.mark.parametrize("xml", [view(), view(control("Brush", "m")), view(control("BrushLabels", "m", label("...")))])
def test_without_words_nothing_can_be_looked_for(xml: str) -> None:
    with pytest.raises(BadRequest) as caught:
        label_phrases(xml)
    assert caught.value.code == "config.unusable"


def test_a_model_of_a_config_finds_every_label() -> None:
    """Every class of the model maps back to the label that it was made of."""
    model = of_config(GroundedSam2(EchoTextModel(), EchoModel()), STREET)
    names = [one.name for one in model.labels]
    mapped = map_labels(names, parse(STREET).controls[0])
    assert mapped.unmapped == ()
    assert set(mapped.labels.values()) == {"Car", "Traffic light", "light", "St. Bernard", "bike"}
    assert model.segment(np.zeros((8, 8, 3), np.uint8)) == []
