from __future__ import annotations

import logging
import threading

import numpy as np
import pytest

from locara_label.errors import BadImage, BadOption, BadPrompt, Cancelled, DeadlineExceeded
from locara_label.models.base import Limit
from locara_label.models.classic import Classic
from locara_label.models.grounded import GroundedSam2, box_prompts, distinct, grounded, phrase_of
from locara_label.runtime.session import Stop
from locara_label.types import Box, Candidate, Detection, Mask, TextPrompt
from tests.engine.echo_model import EchoModel
from tests.engine.echo_text_model import EchoTextModel

IMAGE = np.full((30, 40, 3), 200, np.uint8)
IMAGE[4:12, 3:10] = (200, 20, 20)


def seen(*corners, score=0.5, asked="car", phrase=None):
    return Detection(Box(*corners), score, asked if phrase is None else phrase, asked)


def filled(box, size=(30, 40)):
    array = np.zeros(size, bool)
    array[int(box.y0) : int(box.y1), int(box.x0) : int(box.x1)] = True
    return Mask.from_array(array)


class BoxModel(EchoModel):
    """The mask of a box is the box."""

    identity = "box-1"

    def decode_many(self, embedding, prompts, limit=None):
        self.calls = [*getattr(self, "calls", []), len(prompts)]
        return [[Candidate(filled(prompt.box, embedding.size), 0.7)] for prompt in prompts]


def pair():
    return GroundedSam2(EchoTextModel(), BoxModel())


def test_the_best_of_boxes_that_show_one_object_stays():
    found = [seen(0, 0, 10, 10, score=0.4), seen(0, 0, 10, 9, score=0.6), seen(20, 0, 30, 10, score=0.5)]
    assert distinct(found) == [found[1], found[2]]


def test_just_enough_overlap_is_kept():
    low, high = seen(0, 0, 10, 7, score=0.4), seen(0, 0, 10, 10, score=0.6)
    assert distinct([low, high]) == [high, low]  # IoU of exactly 0.7
    assert distinct([seen(0, 0, 10, 7.01, score=0.4), high]) == [high]


def test_other_phrases_do_not_push_boxes_out():
    found = [seen(0, 0, 10, 10, score=0.4, asked="car"), seen(0, 0, 10, 10, score=0.6, asked="red thing", phrase="car")]
    assert distinct(found) == [found[1], found[0]]


def test_a_box_that_was_pushed_out_pushes_none():
    chain = [seen(0, 0, 100, 100, score=0.9), seen(0, 15, 100, 115, score=0.8), seen(0, 30, 100, 130, score=0.7)]
    assert distinct(chain) == [chain[0], chain[2]]


def test_boxes_without_an_area_are_left_out():
    assert distinct([seen(5, 5, 5, 9), seen(5, 5, 9, 5), seen(9, 5, 5, 9)]) == []
    assert distinct([]) == []


def test_objects_are_in_the_order_of_their_boxes_and_have_masks():
    found = [
        seen(0, 0, 5, 5, score=0.4, asked="a"),
        seen(0, 0, 6, 6, score=0.6, asked="b"),
        seen(0, 0, 7, 7, score=0.8, asked="c"),
        seen(0, 0, 8, 8, score=0.7, asked="d"),
    ]
    empty = Mask.from_array(np.zeros((30, 40), bool))
    answers = [[Candidate(filled(one.box), 0.3)] for one in found[:2]] + [[Candidate(empty, 0.9)], []]
    first, second = grounded(found, answers)
    assert (first.phrase, first.box_score, first.mask_score, first.mask) == ("b", 0.6, 0.3, filled(found[1].box))
    assert second.phrase == "a"
    with pytest.raises(ValueError, match="shorter"):
        grounded(found, answers[:1])


def test_of_masks_of_one_phrase_that_are_nearly_one_the_best_box_stays():
    found = [seen(0, 0, 5, 5, score=0.4), seen(9, 9, 12, 12, score=0.6), seen(0, 0, 5, 5, score=0.5, asked="red thing")]
    (best, other) = grounded(found, [[Candidate(filled(found[0].box), 0.3)]] * 3)
    assert [(one.phrase, one.box_score) for one in (best, other)] == [("car", 0.6), ("red thing", 0.5)]


def test_a_prompt_for_each_box():
    assert [prompt.box for prompt in box_prompts([seen(0, 0, 5, 5), seen(1, 2, 3, 4)])] == [Box(0, 0, 5, 5), Box(1, 2, 3, 4)]


def test_text_to_masks():
    model = pair()
    found = model.find(IMAGE, TextPrompt.of("at 3 4 10 12 . nothing . at 20 10 30 20"))
    assert [(one.phrase, one.box, one.box_score, one.mask_score) for one in found] == [
        ("at 3 4 10 12", Box(3, 4, 10, 12), 0.9, 0.7),
        ("at 20 10 30 20", Box(20, 10, 30, 20), 0.9, 0.7),
    ]
    assert all(one.mask == filled(one.box) for one in found)
    assert model.prompt_model.calls == [2]
    assert len(model.prompt_model.encoded) == len(model.text_model.encoded) == 1


def test_a_real_model_makes_the_mask():
    image = np.full((90, 120, 3), 200, np.uint8)
    image[10:40, 10:40] = (200, 20, 20)
    (found,) = GroundedSam2(EchoTextModel(), Classic()).find(image, TextPrompt.of("at 8 8 43 42"))
    assert found.mask.iou(filled(Box(10, 10, 40, 40), (90, 120))) > 0.9


def test_nothing_found_costs_no_second_encoding():
    model = pair()
    assert model.find(IMAGE, TextPrompt.of("nothing")) == []
    assert model.prompt_model.encoded == []


def test_names():
    model = pair()
    assert (model.name, model.identity, model.provider) == ("echo-text+echo", "echo-text-1+box-1", "none")
    assert GroundedSam2(EchoTextModel(), Classic()).provider == "none+opencv"


def test_thresholds_reach_the_text_model():
    model = pair()
    prompt = TextPrompt.of("at 3 4 10 12", 0.91, 0.3)
    assert model.find(IMAGE, prompt) == []
    assert model.text_model.asked == [prompt]


def test_a_picture_that_is_none():
    with pytest.raises(BadImage):
        pair().find(np.zeros((3, 4), np.uint8), TextPrompt.of("car"))


@pytest.mark.parametrize("held", ["text_model", "prompt_model"])
def test_either_model_can_be_stopped(held):
    model, stop = GroundedSam2(EchoTextModel(), EchoModel()), Stop()
    getattr(model, held).go_on.clear()
    raised = []

    def work():
        try:
            model.find(IMAGE, TextPrompt.of("at 3 4 10 12"), Limit(stop))
        except Cancelled as error:
            raised.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    assert getattr(model, held).entered.wait(10)
    stop.set()
    thread.join(10)
    assert len(raised) == 1


def test_a_deadline_that_has_passed():
    with pytest.raises(DeadlineExceeded):
        pair().find(IMAGE, TextPrompt.of("at 3 4 10 12"), Limit(deadline_s=0))


@pytest.mark.parametrize(
    ("name", "phrase"),
    [
        ("Car", "car"), ("traffic_light", "traffic light"), ("  T-Shirt ", "t-shirt"), ("e.g. this?", "e g this"),
        ("_", ""), ("", ""), ("Straße", "straße"), ("a\tb\nc", "a b c"),
    ],
)  # fmt: skip
def test_label_names_as_phrases(name, phrase):
    assert phrase_of(name) == phrase


def test_labels_in_their_order():
    model = pair().of_labels(["At 20_10 30 20", "Other", "at 3 4 10 12"])
    assert [(label.index, label.name) for label in model.labels] == [(0, "At 20_10 30 20"), (1, "Other"), (2, "at 3 4 10 12")]
    assert model.phrases == ("at 20 10 30 20", "other", "at 3 4 10 12")
    first, second = model.segment(IMAGE)
    assert (first.label, first.label_index, first.score, first.mask) == ("At 20_10 30 20", 0, 0.9, filled(Box(20, 10, 30, 20)))
    assert (second.label, second.label_index, second.is_stuff) == ("at 3 4 10 12", 2, False)
    assert not model.dropped


def test_a_label_of_several_phrases():
    model = pair().of_labels({"thing": ["at 3 4 10 12", "at 20 10 30 20", "AT 20 10_30 20"], "at 0 0 5 5": []})
    assert [one.label for one in model.segment(IMAGE)] == ["thing", "thing", "at 0 0 5 5"]


def test_a_lone_text_is_one_phrase():
    assert pair().of_labels("car").phrases == ("car",)
    assert pair().of_labels({"vehicle": "car"}).phrases == ("car",)


def test_phrases_without_a_label_are_counted(caplog):
    model = pair().of_labels(["car"], unlabelled=["at 3 4 10 12", "car"])
    with caplog.at_level(logging.WARNING, "locara_label.grounded"):
        assert model.segment(IMAGE) == model.segment(IMAGE) == []
    assert model.dropped == {"at 3 4 10 12": 2}
    assert len(caplog.records) == 2
    assert "at 3 4 10 12" in caplog.text
    found = model.labelled(model.find(IMAGE))
    assert (found.instances, found.dropped) == ([], {"at 3 4 10 12": 1})
    assert model.dropped == {"at 3 4 10 12": 2}


def test_counts_of_many_threads_add_up():
    model = pair().of_labels(["car"], unlabelled=["at 3 4 10 12"])
    threads = [threading.Thread(target=lambda: [model.segment(IMAGE) for _ in range(20)]) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert model.dropped["at 3 4 10 12"] == 100


def test_thresholds_of_labels():
    model = pair().of_labels(["at 3 4 10 12"], text_threshold=0.4)
    assert model.segment(IMAGE, 0.95) == []
    assert len(model.segment(IMAGE, 0.5)) == 1
    asked = model._model.text_model.asked
    assert [(one.box_threshold, one.text_threshold) for one in asked] == [(0.95, 0.4), (0.5, 0.4)]
    with pytest.raises(BadOption):
        model.segment(IMAGE, 1.5)


@pytest.mark.parametrize(
    "labels",
    [
        ["car", "Car"], ["traffic light", "traffic_light"], ["car", "car"], {"a": ["car"], "b": ["truck", "car"]},
        {"a": ["b"], "b": []}, [], {}, ["car", "..."], ["", "car"], {"a": ["?"]},
    ],
)  # fmt: skip
def test_label_sets_that_cannot_be_asked_for(labels):
    with pytest.raises(BadOption) as caught:
        pair().of_labels(labels)
    assert caught.value.code == "option.labels"


def test_two_labels_of_one_phrase_are_named():
    with pytest.raises(BadOption, match="'Traffic_Light' and 'lamp' share the phrase 'traffic light'"):
        pair().of_labels({"Traffic_Light": [], "lamp": ["traffic light"]})


def test_too_many_labels():
    with pytest.raises(BadPrompt) as caught:
        pair().of_labels([f"label {number}" for number in range(1001)])
    assert caught.value.code == "prompt.too_long"


def test_one_mask_of_a_phrase_counts_once():
    """Two boxes that have little in common, which the prompt model answers with the same object."""
    mask, other = filled(Box(5, 5, 15, 15)), filled(Box(0, 0, 3, 3))
    found = [
        seen(4, 4, 16, 16), seen(9, 9, 19, 19, score=0.9), seen(0, 0, 3, 3, score=0.4),
        seen(4, 4, 16, 16, score=0.6, asked="bus"),
    ]  # fmt: skip
    objects = grounded(found, [[Candidate(one, 0.8)] for one in (mask, mask, other, mask)])
    assert [(one.phrase, one.box_score) for one in objects] == [("car", 0.9), ("bus", 0.6), ("car", 0.4)]
