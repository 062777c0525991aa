"""SAM 2.1 through video from ONNX files as others published them: five graphs and `constants.json`.

The repositories are `square-zero-labs/sam2.1-tiny-video-onnx` and `diffusionstudio/sam2.1-*-video-onnx-fp16`. Their memory
attention takes a fixed number of memories and pointers. Where an object has fewer, as on its first frames, each is repeated as
evenly as it goes, which shifts their weights a little; where corrections make more of them, the oldest tracked ones give way.
Their decoder makes the choice among its masks itself and takes no mask: a mask that a person gives is the answer and is
remembered exactly, but the object's pointer is that of the mask's box; a mask cannot be refined, and none can be empty.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from locara_label import geometry
from locara_label.errors import BadPrompt, BadWeights
from locara_label.models import processor
from locara_label.models.base import NO_LIMIT, Clock, Image, Limit, checked, picture_hash
from locara_label.models.sam2 import Clicks, clicks_of, input_type
from locara_label.models.sam2_video import GIVEN, NO_CLICKS, Answer, Remembering, checked_mask, is_drawn, is_first, run
from locara_label.models.video_memory import Asked, Bank, Course, Memory, Reach, Recall, Rules, recall
from locara_label.runtime.session import Session, finite
from locara_label.types import Embedding, Mask, Prompt

Floats = NDArray[np.float32]

INTERFACE: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "vision_encoder": (("pixel_values",), ("feats0", "feats1", "feats2", "feats2_no_mem", "vision_pos_embed")),
    "mask_decoder": (
        ("feats0", "feats1", "feats2_cond", "input_points", "input_labels"),
        ("low_res_mask", "high_res_mask", "iou", "object_score_logits", "object_pointer"),
    ),
    "memory_encoder": (("feats2", "high_res_mask", "object_score_logits", "binarize"), ("memory_tokens", "memory_pos")),
    "memory_attention": (
        ("current_vision_features", "current_vision_position_embeddings", "memory", "memory_pos"),
        ("conditioned_feats",),
    ),
    "pointer_tpos": (("normalized_diffs",), ("pointer_pos",)),
}
"""Inputs and outputs of each file, by its name."""
MAX_POINTERS = 16
LEAST_RECENT = 3
"""Places for memories that prompts leave to the last tracked frames."""
_TABLE = "memory_temporal_positional_encoding"
_INTEGERS = {"tensor(int32)": np.int32}


@dataclass(frozen=True)
class Layout:
    """Sizes of the graphs.

    Attributes:
        side: of the input, in pixels.
        cells: rows, and columns, of the coarsest features.
        depth, channels: of these features and of memories.
        memories, pointers: how many the memory attention takes.
    """

    side: int
    cells: int
    depth: int
    channels: int
    memories: int
    pointers: int

    @property
    def parts(self) -> int:
        """Tokens of one pointer."""
        return self.depth // self.channels


class PublishedSam2Video(Remembering):
    """Implements `VideoModel`. Prompts are points and a box, or a mask alone."""

    refines = False

    def __init__(
        self,
        name: str,
        identity: str,
        sessions: Mapping[str, Session],
        constants: Mapping[str, Any],
        *,
        rules: Rules | None = None,
    ) -> None:
        """Args:
        name, identity: of the model.
        sessions: by the names in `INTERFACE`.
        constants: `constants.json`.
        rules: what of the past counts; the graphs may have room for less.

        Raises:
            BadWeights: the files have other inputs, outputs or sizes (code weights.interface), or the constants do not fit them
                (code weights.config).
        """
        self.name, self.identity, self.provider = name, identity, sessions["vision_encoder"].provider
        self._sessions = sessions
        self._check_interface()
        self.layout = _layout(name, sessions, constants)
        self._times = _times(constants, self.layout)
        self._processor = processor.parse({**constants, "size": {"height": self.side, "width": self.side}})
        self.reach = Reach(len(self._times), self.layout.pointers)
        given = rules or Rules()
        room = max(self.layout.memories - LEAST_RECENT, 1)
        self.rules = replace(given, conditioning=min(given.conditioning or room, room))
        self._places = self._memory_places()

    @property
    def side(self) -> int:
        """Height and width of the model's input in pixels."""
        return self.layout.side

    def encode(self, image: Image, limit: Limit = NO_LIMIT) -> Embedding:
        """See `PromptedModel`."""
        pixels = self._processor.prepare(checked(image))
        found = self._run("vision_encoder", {"pixel_values": pixels}, Clock(limit))
        arrays = tuple(finite(found[name]) for name in INTERFACE["vision_encoder"][1])
        for array in arrays:
            array.flags.writeable = False
        return Embedding(self.identity, picture_hash(image), (image.shape[0], image.shape[1]), arrays)

    def _answers(
        self, embedding: Embedding, frame: int, work: Sequence[Asked[Bank]], course: Course, clock: Clock
    ) -> list[Answer]:
        """One by one: the graphs take one object at a time."""
        for one in work:
            self._check_prompt(one.prompt, embedding)
        return [self._answer(embedding, frame, one, course, clock) for one in work]

    def _answer(self, embedding: Embedding, frame: int, one: Asked[Bank], course: Course, clock: Clock) -> Answer:
        if one.prompt is not None and one.prompt.mask is not None:
            return self._given(embedding, one.prompt.mask, clock)
        coarse = embedding.arrays[3] if is_first(one, frame) else self._attend(embedding, frame, one.bank, course, clock)
        clicks = NO_CLICKS if one.prompt is None else clicks_of(one.prompt, embedding.size, self.side)
        return self._decode(embedding, coarse, clicks, clock)

    def _check_prompt(self, prompt: Prompt | None, embedding: Embedding) -> None:
        if prompt is None or (prompt.mask is None and prompt.logits is None):
            return
        if not is_drawn(prompt):
            text = f"{self.name} cannot start from a mask: its published files have no input for one"
            raise BadPrompt(text, code="prompt.no_refinement")
        if prompt.mask is not None and not checked_mask(prompt.mask, embedding).area:
            text = f"{self.name} cannot be told that an object is out of sight: its published files do not give that pointer"
            raise BadPrompt(text, code="prompt.empty_mask")

    def _given(self, embedding: Embedding, mask: Mask, clock: Clock) -> Answer:
        """A mask that a person drew is the answer; its box stands in for it where the pointer is made."""
        shares = geometry.resize_smoothed(mask.to_array().astype(np.float32), (self.side, self.side))
        detail = (shares * 2 - 1) * np.float32(GIVEN)
        pointing = self._decode(embedding, embedding.arrays[3], clicks_of(Prompt(box=mask.box), embedding.size, self.side), clock)
        height, width = pointing.logits.shape
        logits = geometry.resize_smoothed(detail, (height, width))
        return Answer(logits, detail, 1.0, GIVEN, pointing.pointer)

    def _decode(self, embedding: Embedding, coarse: Floats, clicks: Clicks, clock: Clock) -> Answer:
        points, labels = clicks
        wanted = _INTEGERS.get(self._sessions["mask_decoder"].input_types["input_labels"], np.int64)
        feed = {
            "feats0": embedding.arrays[0],
            "feats1": embedding.arrays[1],
            "feats2_cond": coarse,
            "input_points": points[None, None],
            "input_labels": labels[None, None].astype(wanted, copy=False),
        }
        found = {name: finite(array) for name, array in self._run("mask_decoder", feed, clock).items()}
        score, presence = (float(found[name].reshape(-1)[0]) for name in ("iou", "object_score_logits"))
        logits, detail = (found[name][0, 0].copy() for name in ("low_res_mask", "high_res_mask"))
        return Answer(logits, detail, float(np.clip(score, 0, 1)), presence, found["object_pointer"].reshape(-1).copy())

    def _memories(self, embedding: Embedding, answers: Sequence[Answer], hard: Sequence[bool], clock: Clock) -> list[Memory]:
        """Features are tokens [h w, C] here."""
        pairs = zip(answers, hard, strict=True)
        return [Memory(self._encoded(embedding.arrays[2], one, clock, hard=sharp)[0], one.pointer) for one, sharp in pairs]

    def _encoded(self, features: Floats, answer: Answer, clock: Clock, *, hard: bool) -> tuple[Floats, Floats]:
        """What an answer leaves behind, and the places of its cells: [h w, C] each."""
        feed = {
            "feats2": features,
            "high_res_mask": answer.detail[None, None],
            "object_score_logits": np.full((1, 1), answer.presence, np.float32),
            "binarize": np.array(float(hard), np.float32),
        }
        found = self._run("memory_encoder", feed, clock)
        tokens, places = (finite(found[name]).reshape(-1, self.layout.channels) for name in INTERFACE["memory_encoder"][1])
        return _halved(tokens), places.copy()

    def _memory_places(self) -> Floats:
        """The same for every frame."""
        layout, nothing = self.layout, np.zeros((self.layout.side,) * 2, np.float32)
        features = np.zeros((1, layout.depth, layout.cells, layout.cells), np.float32)
        answer = Answer(nothing, nothing, 0.0, 0.0, np.zeros(layout.depth, np.float32))
        _, places = self._encoded(features, answer, Clock(NO_LIMIT), hard=False)
        if places.shape != (layout.cells**2, layout.channels):
            raise _other(self.name, f"memory_encoder gives places of {places.shape}")
        return places

    def _attend(self, embedding: Embedding, frame: int, bank: Bank, course: Course, clock: Clock) -> Floats:
        """The frame's coarsest features [1, D, h, w] in the light of a bank."""
        layout = self.layout
        known = filled(recall(bank, frame, course, self.reach, self.rules), bank, frame, course, layout)
        when = self._run("pointer_tpos", {"normalized_diffs": np.array(known.times[1], np.float32)}, clock)
        times = [self._places + self._times[away - 1] for away in known.times[0]]
        feed = {
            "current_vision_features": _rows(embedding.arrays[2]),
            "current_vision_position_embeddings": _rows(embedding.arrays[4]),
            "memory": np.concatenate([*known.memories, np.stack(known.pointers).reshape(-1, layout.channels)])[:, None],
            "memory_pos": np.concatenate([*times, np.repeat(finite(when["pointer_pos"]), layout.parts, axis=0)])[:, None],
        }
        return finite(self._run("memory_attention", feed, clock)["conditioned_feats"])

    def _run(self, name: str, feed: Mapping[str, NDArray[Any]], clock: Clock) -> dict[str, NDArray[Any]]:
        session = self._sessions[name]
        typed = {
            key: one.astype(input_type(session, key), copy=False) if one.dtype.kind == "f" else one for key, one in feed.items()
        }
        return run(session, typed, clock)

    def _check_interface(self) -> None:
        for part, (inputs, outputs) in INTERFACE.items():
            session = self._sessions[part]
            wrong = set(inputs) ^ set(session.inputs) | (set(outputs) - set(session.outputs))
            if wrong:
                raise _other(self.name, f"{', '.join(sorted(wrong))} of {part} missing or unknown")


def filled(known: Recall, bank: Bank, frame: int, course: Course, layout: Layout) -> Recall:
    """What a bank holds for a frame, as many memories and pointers as the graphs take."""
    if not known.pointers:  # all prompts lie ahead, and the graph has to have one
        known = _with_nearest(known, bank, frame, course, layout.pointers)
    offsets, shares = known.times
    memories, pointers = fitted(offsets, layout.memories), spread(len(known.pointers), layout.pointers)
    return Recall(
        tuple(known.memories[at] for at in memories),
        tuple(known.pointers[at] for at in pointers),
        (tuple(offsets[at] for at in memories), tuple(shares[at] for at in pointers)),
    )


def fitted(offsets: Sequence[int], places: int) -> list[int]:
    """Which memories fill the places, by their numbers: where there are too many the farthest tracked ones are left out.

    Args:
        offsets: how many frames away each is, 0 for a frame with a prompt; those with prompts fit.
        places: how many there are to fill.
    """
    nearest = sorted(range(len(offsets)), key=lambda at: (offsets[at], at))[:places]
    kept = sorted(nearest)
    return [kept[at] for at in spread(len(kept), places)]


def spread(count: int, places: int) -> list[int]:
    """`count` things on `places`, in order, each as often as the others or once more; the first ones where there are too many."""
    return [at * min(count, places) // places for at in range(places)]


def _with_nearest(known: Recall, bank: Bank, frame: int, course: Course, most: int) -> Recall:
    """With the pointer of the nearest prompt, though it lies ahead."""
    at = min(bank.prompted, key=lambda other: abs(other - frame))
    farthest = max(min(course.length, most) - 1, 1)
    return replace(known, pointers=(bank.prompted[at].pointer,), times=(known.times[0], (abs(at - frame) / farthest,)))


def _rows(level: Floats) -> Floats:
    """Features [1, D, h, w] as [h w, 1, D]."""
    return np.ascontiguousarray(level.reshape(level.shape[1], -1).T[:, None])


def _halved(array: Floats) -> Floats:
    """Rounded to bfloat16, as the reference keeps memories."""
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) & np.uint32(0xFFFF0000)
    return rounded.view(np.float32)


def _layout(name: str, sessions: Mapping[str, Session], constants: Mapping[str, Any]) -> Layout:
    shapes = {key: shape for session in sessions.values() for key, shape in session.input_shapes.items()}
    wanted = [shapes["pixel_values"][-1], *shapes["feats2_cond"][1:3], shapes["memory"][0], shapes["memory"][-1]]
    if not all(isinstance(number, int) and number > 0 for number in wanted):
        raise _other(name, f"sizes are {wanted}")
    side, depth, cells, rows, channels = wanted
    given = shapes["normalized_diffs"][0]
    pointers = given if isinstance(given, int) else constants.get("max_object_pointers", MAX_POINTERS)
    if not isinstance(pointers, int) or not 0 < pointers <= 100 or depth % channels:
        raise _other(name, f"there are {pointers!r:.50} pointers of {depth} numbers for memories of {channels}")
    memories, rest = divmod(rows - pointers * (depth // channels), cells**2)
    if rest or not 0 < memories <= 100:
        raise _other(name, f"memory_attention takes {rows} rows, no whole number of memories of {cells**2}")
    if constants.get("image_size", side) != side:
        text = f"the graphs of {name} take {side} pixels each way, constants.json says {constants['image_size']!r:.50}"
        raise BadWeights(text, code="weights.input_size")
    return Layout(side, cells, depth, channels, memories, pointers)


def _times(constants: Mapping[str, Any], layout: Layout) -> Floats:
    """The temporal encodings [K, C], of the frame before first and of prompts last."""
    try:
        table = np.array(constants[_TABLE], np.float32)
    except (KeyError, TypeError, ValueError) as error:
        raise BadWeights(f"constants.json has no usable {_TABLE}: {error!r:.200}", code="weights.config") from error
    if table.ndim != 2 or table.shape[1] != layout.channels or not 1 < len(table) <= 100 or not math.isfinite(float(table.sum())):
        text = f"{_TABLE} of constants.json is {table.shape}, not of {layout.channels} finite numbers for each frame"
        raise BadWeights(text, code="weights.config")
    return table


def _other(name: str, why: str) -> BadWeights:
    return BadWeights(f"the files of {name} are not the published five of a SAM 2 video model: {why}", code="weights.interface")
