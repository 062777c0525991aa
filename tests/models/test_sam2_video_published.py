"""What the published five files are asked, and in what shape; their numbers are compared in tests/parity."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from locara_label.errors import BadPrompt, BadWeights
from locara_label.models.sam2_video_published import INTERFACE, PublishedSam2Video, fitted, spread
from locara_label.models.video_memory import BACKWARD, FORWARD, Asked, Bank, Course, Rules
from locara_label.types import Box, Mask, Point, Prompt

SIDE, CELLS, DEPTH, CHANNELS, MEMORIES, POINTERS = 64, 4, 16, 8, 5, 4
SIZE = (48, 96)
ROWS = MEMORIES * CELLS**2 + POINTERS * DEPTH // CHANNELS
TABLE = [[float(row)] * CHANNELS for row in range(1, 8)]
CONSTANTS = {"image_size": SIDE, "memory_temporal_positional_encoding": TABLE}
SHAPES: dict[str, tuple[Any, ...]] = {
    "pixel_values": (1, 3, SIDE, SIDE),
    "feats2_cond": (1, DEPTH, CELLS, CELLS),
    "memory": (ROWS, 1, CHANNELS),
    "normalized_diffs": (POINTERS,),
}
COURSE = Course(FORWARD, 100)


class Part:
    """One file: it notes what it is fed, and answers with what the frame and the object can be known by."""

    provider = "CPUExecutionProvider"

    def __init__(self, name: str) -> None:
        self.name, (self.inputs, self.outputs) = name, INTERFACE[name]
        self.input_types = dict.fromkeys(self.inputs, "tensor(float)") | {"input_labels": "tensor(int32)"}
        self.input_shapes = {key: SHAPES.get(key, ()) for key in self.inputs}
        self.symbols: dict[str, int] = {}
        self.fed: list[dict[str, np.ndarray]] = []

    def run(self, feed: dict[str, np.ndarray], *, stop: Any = None, deadline_s: Any = None) -> dict[str, np.ndarray]:
        assert set(feed) == set(self.inputs)
        self.fed.append(feed)
        return dict(zip(self.outputs, getattr(self, self.name)(**feed), strict=True))

    def vision_encoder(self, pixel_values: np.ndarray) -> tuple[np.ndarray, ...]:
        mark = np.float32(pixel_values.mean())
        fine = (np.full((1, DEPTH // 8, 4 * CELLS, 4 * CELLS), mark), np.full((1, DEPTH // 4, 2 * CELLS, 2 * CELLS), mark))
        cells = np.arange(DEPTH * CELLS**2, dtype=np.float32).reshape(1, DEPTH, CELLS, CELLS)
        return *fine, cells, cells + 0.5, cells / 10

    def mask_decoder(self, input_points: np.ndarray, feats2_cond: np.ndarray, **_: np.ndarray) -> tuple[np.ndarray, ...]:
        logits = np.full((1, 1, 256, 256), -1, np.float32)
        logits[..., :128] = 1
        pointer = np.full((1, 1, DEPTH), input_points.sum() + feats2_cond.flat[0], np.float32)
        return logits, logits[..., :SIDE, :SIDE], np.full((1, 1), 1.25), np.full((1, 1, 1), 3.0), pointer

    def memory_encoder(self, binarize: np.ndarray, object_score_logits: np.ndarray, **_: np.ndarray) -> tuple[np.ndarray, ...]:
        assert (binarize.shape, object_score_logits.shape) == ((), (1, 1))
        tokens = np.full((CELLS**2, 1, CHANNELS), 100 + binarize + len(self.fed) / 4096, np.float32)
        return tokens, np.full((CELLS**2, 1, CHANNELS), 0.25, np.float32)

    def memory_attention(self, memory: np.ndarray, memory_pos: np.ndarray, **more: np.ndarray) -> tuple[np.ndarray]:
        assert memory.shape == memory_pos.shape == (ROWS, 1, CHANNELS)
        assert all(one.shape == (CELLS**2, 1, DEPTH) for one in more.values())
        return (np.full((1, DEPTH, CELLS, CELLS), 7, np.float32),)

    def pointer_tpos(self, normalized_diffs: np.ndarray) -> tuple[np.ndarray]:
        assert normalized_diffs.shape == (POINTERS,)
        return (np.repeat(normalized_diffs[:, None], CHANNELS, 1),)


@pytest.fixture
def parts() -> dict[str, Part]:
    return {name: Part(name) for name in INTERFACE}


@pytest.fixture
def model(parts: dict[str, Part]) -> PublishedSam2Video:
    return PublishedSam2Video("published", "published@1", parts, CONSTANTS)  # type: ignore[arg-type]


def picture(value: int) -> np.ndarray:
    return np.full((*SIZE, 3), value, np.uint8)


def track(model: PublishedSam2Video, frames: range, direction: int = FORWARD) -> Bank:
    """An object with a box on the first frame, followed through the others."""
    bank = model.bank()
    for frame in frames:
        prompt = Prompt(box=Box(0, 0, 48, 24)) if frame == frames[0] else None
        model.step(model.encode(picture(frame)), frame, [Asked(bank, prompt)], Course(direction, 100))
    return bank


def test_a_prompt_is_asked_on_the_frame_as_it_is(model: PublishedSam2Video, parts: dict[str, Part]) -> None:
    (seen,) = model.step(model.encode(picture(9)), 4, [Asked(model.bank(), Prompt((Point(48, 24),), Box(0, 0, 96, 48)))], COURSE)
    (fed,) = parts["mask_decoder"].fed
    assert fed["input_points"].tolist() == [[[[32, 32], [0, 0], [64, 64]]]]
    assert (fed["input_labels"].tolist(), fed["input_labels"].dtype) == ([[[1, 2, 3]]], np.int32)
    assert fed["feats2_cond"].flat[0] == 0.5
    assert parts["memory_attention"].fed == []
    assert (seen.score, seen.presence, seen.present) == (1.0, 3.0, True)
    assert seen.mask(SIZE).box == Box(0, 0, 48, 48)
    assert seen.pointer.shape == (DEPTH,)


def test_a_tracked_frame_is_seen_in_the_light_of_its_bank(model: PublishedSam2Video, parts: dict[str, Part]) -> None:
    bank = track(model, range(3))
    fed = parts["mask_decoder"].fed[-1]
    assert (fed["input_labels"].tolist(), fed["feats2_cond"].flat[0]) == ([[[-1]]], 7)
    last = parts["memory_attention"].fed[-1]
    assert last["current_vision_features"][1, 0].tolist() == [1 + CELLS**2 * at for at in range(DEPTH)]
    cells = last["memory_pos"][: MEMORIES * CELLS**2, 0, 0].reshape(MEMORIES, -1)
    assert cells[:, 0].tolist() == [7.25, 7.25, 7.25, 1.25, 1.25]  # the prompt's row is the last one, then one frame away
    shares = np.float32([2, 2, 1, 1]) / np.float32(3)
    assert last["memory_pos"][MEMORIES * CELLS**2 :, 0, 0].tolist() == np.repeat(shares, 2).tolist()
    pointers = np.concatenate([bank.prompted[0].pointer] * 2 + [bank.pointers[1]] * 2)
    assert last["memory"][MEMORIES * CELLS**2 :].ravel().tolist() == pointers.tolist()
    assert [float(one["binarize"]) for one in parts["memory_encoder"].fed] == [0, 1, 0, 0]


def test_memories_are_rounded_to_bfloat16(model: PublishedSam2Video) -> None:
    features = track(model, range(1)).prompted[0].memory.features
    assert features.shape == (CELLS**2, CHANNELS)
    assert set(np.unique(features).tolist()) == {101.0}


def test_old_memories_give_way_and_prompts_stay(model: PublishedSam2Video, parts: dict[str, Part]) -> None:
    assert model.rules.conditioning == MEMORIES - 3
    bank = track(model, range(12))
    for frame in (13, 14, 15):
        model.step(model.encode(picture(frame)), frame, [Asked(bank, Prompt((Point(5, 5),)))], COURSE)
    model.step(model.encode(picture(16)), 16, [Asked(bank)], COURSE)
    cells = parts["memory_attention"].fed[-1]["memory_pos"][: MEMORIES * CELLS**2 : CELLS**2, 0, 0]
    assert cells.tolist() == [7.25, 7.25, 7.25, 6.25, 5.25]


def test_an_object_whose_prompts_lie_ahead_has_the_nearest_one_s_pointer(
    model: PublishedSam2Video, parts: dict[str, Part]
) -> None:
    bank = track(model, range(6, 7))
    model.step(model.encode(picture(4)), 4, [Asked(bank)], COURSE)
    assert parts["pointer_tpos"].fed[-1]["normalized_diffs"].tolist() == [np.float32(2 / 3)] * POINTERS
    assert track(model, range(9, 5, -1), BACKWARD).prompted.keys() == {9}


def test_a_mask_is_the_answer(model: PublishedSam2Video, parts: dict[str, Part]) -> None:
    drawn = np.zeros(SIZE, bool)
    drawn[10:30, 20:60] = True
    (seen,) = model.step(model.encode(picture(1)), 0, [Asked(model.bank(), Prompt(mask=Mask.from_array(drawn)))], COURSE)
    assert seen.mask(SIZE).iou(Mask.from_array(drawn)) > 0.9
    assert (seen.score, seen.present) == (1.0, True)
    assert parts["mask_decoder"].fed[0]["input_labels"].tolist() == [[[2, 3]]]
    assert parts["memory_encoder"].fed[-1]["high_res_mask"].max() == 10


@pytest.mark.parametrize(
    ("prompt", "code"),
    [
        (Prompt((Point(9, 9),), mask=Mask.from_array(np.ones(SIZE, bool))), "prompt.no_refinement"),
        (Prompt(logits=np.zeros((16, 16), np.float32)), "prompt.no_refinement"),
        (Prompt(mask=Mask.from_array(np.zeros(SIZE, bool))), "prompt.empty_mask"),
        (Prompt(mask=Mask.from_array(np.ones((9, 9), bool))), "prompt.mask"),
    ],
)
def test_what_the_files_cannot_do(model: PublishedSam2Video, prompt: Prompt, code: str) -> None:
    first, other = model.bank(), model.bank()
    asked = [Asked(first, Prompt((Point(9, 9),))), Asked(other, prompt)]
    with pytest.raises(BadPrompt) as error:
        model.step(model.encode(picture(0)), 0, asked, COURSE)
    assert error.value.code == code
    assert (first.prompted, other.prompted) == ({}, {})
    assert not model.refines


def test_an_object_that_was_never_shown(model: PublishedSam2Video) -> None:
    with pytest.raises(BadPrompt) as error:
        model.step(model.encode(picture(0)), 0, [Asked(model.bank())], COURSE)
    assert error.value.code == "prompt.empty"


@pytest.mark.parametrize(
    ("key", "shape", "code"),
    [
        ("pixel_values", (1, 3, "h", "w"), "weights.interface"),
        ("memory", (ROWS + 1, 1, CHANNELS), "weights.interface"),
        ("memory", ("rows", 1, CHANNELS), "weights.interface"),
        ("memory", (ROWS, 1, 7), "weights.interface"),
        ("normalized_diffs", (0,), "weights.interface"),
    ],
)
def test_files_of_other_sizes(parts: dict[str, Part], key: str, shape: tuple[Any, ...], code: str) -> None:
    for part in parts.values():
        if key in part.inputs:
            part.input_shapes[key] = shape
    with pytest.raises(BadWeights) as error:
        PublishedSam2Video("published", "published@1", parts, CONSTANTS)  # type: ignore[arg-type]
    assert error.value.code == code


def test_files_of_another_kind(parts: dict[str, Part]) -> None:
    parts["mask_decoder"].inputs += ("input_masks",)
    with pytest.raises(BadWeights, match="input_masks of mask_decoder") as error:
        PublishedSam2Video("published", "published@1", parts, CONSTANTS)  # type: ignore[arg-type]
    assert error.value.code == "weights.interface"


@pytest.mark.parametrize(
    "constants",
    [
        {},
        {"memory_temporal_positional_encoding": "no table"},
        {"memory_temporal_positional_encoding": [[1.0]] * 7},
        {"memory_temporal_positional_encoding": [[float("nan")] * CHANNELS] * 7},
        {"memory_temporal_positional_encoding": TABLE[:1]},
    ],
)
def test_constants_that_cannot_be_used(parts: dict[str, Part], constants: dict[str, object]) -> None:
    with pytest.raises(BadWeights) as error:
        PublishedSam2Video("published", "published@1", parts, constants)  # type: ignore[arg-type]
    assert error.value.code == "weights.config"


def test_dynamic_pointers_are_as_many_as_the_constants_say(parts: dict[str, Part]) -> None:
    parts["pointer_tpos"].input_shapes["normalized_diffs"] = ("pointers",)
    constants = CONSTANTS | {"max_object_pointers": POINTERS}
    model = PublishedSam2Video("published", "published@1", parts, constants, rules=Rules(conditioning=1))  # type: ignore[arg-type]
    assert (model.layout.memories, model.layout.pointers, model.rules.conditioning) == (MEMORIES, POINTERS, 1)


def test_places_are_filled_evenly_and_in_order() -> None:
    assert spread(1, 3) == [0, 0, 0]
    assert spread(3, 7) == [0, 0, 0, 1, 1, 2, 2]
    assert spread(9, 4) == [0, 1, 2, 3]
    assert fitted([0, 2, 1], 3) == [0, 1, 2]
    assert fitted([0, 0, 6, 5, 4, 3, 2, 1], 5) == [0, 1, 5, 6, 7]
    assert fitted([0], 2) == [0, 0]
