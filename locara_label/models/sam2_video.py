"""SAM 2.1 through video: what is remembered of each object conditions the next frame.

Source: Ravi et al., SAM 2: Segment Anything in Images and Videos, 2024; the arithmetic is that of transformers' `Sam2VideoModel`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from locara_label import geometry
from locara_label.errors import BadPrompt, BadWeights
from locara_label.models.base import NO_LIMIT, Clock, Image, Limit, checked_embedding
from locara_label.models.sam2 import (
    EMBEDDINGS,
    MAX_LOGIT,
    NOTHING,
    Clicks,
    Encoder,
    batches,
    checked_logits,
    clicks_of,
    parse_stability,
)
from locara_label.models.video_memory import Asked, Bank, Course, Memory, Reach, Recall, Rules, Sighting, recall
from locara_label.runtime.session import Session, finite
from locara_label.types import Embedding, Mask, Prompt

COARSE = EMBEDDINGS[2]
ABSENT = -1024.0
"""Logits of a mask where the model sees no object; published."""
GIVEN = 10.0
"""Of a given mask: certain foreground and, negative, certain background; published."""
MAX_ATTENDING = 4
"""Objects in one run of the memory attention; at 1024 pixels each takes some 600 MB."""
NO_CLICKS: Clicks = np.zeros((1, 2), np.float32), np.full(1, NOTHING, np.int64)

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Sessions:
    """The five graphs."""

    encoder: Session
    decoder: Session
    memory_encoder: Session
    memory_attention: Session
    mask_prompt: Session


@dataclass(frozen=True, eq=False)
class Answer:
    """A decoded object, before its memory is made; `detail` is what the memory encoder sees, of any size."""

    logits: Floats
    detail: Floats
    score: float
    presence: float
    pointer: Floats


@dataclass(frozen=True)
class _Choice:
    """When one of several masks is taken: at a prompt, and when tracking, after so few and so many points; `config.json`."""

    multimask_output_in_sam: bool = True
    multimask_output_for_tracking: bool = True
    multimask_min_pt_num: int = 0
    multimask_max_pt_num: int = 1

    def several(self, points: int, *, first: bool) -> bool:
        allowed = self.multimask_output_in_sam and (first or self.multimask_output_for_tracking)
        return allowed and self.multimask_min_pt_num <= points <= self.multimask_max_pt_num


@dataclass(frozen=True, eq=False)
class _Question:
    """What the decoder is asked for one object, on the coarsest embedding [D, h, w]: one mask, or the best of several."""

    coarse: Floats
    clicks: Clicks
    mask_input: Floats | None
    several: bool


class Remembering(ABC):
    """What all SAM 2 that track have in common: a bank for each object, and what a frame leaves in it.

    They hold no state of any video: threads may share one, each with banks of its own.
    """

    identity: str
    reach: Reach
    rules: Rules

    def bank(self) -> Bank:
        """See `VideoModel`."""
        return Bank()

    def step(
        self, embedding: Embedding, frame: int, asked: Sequence[Asked[Bank]], course: Course, limit: Limit = NO_LIMIT
    ) -> list[Sighting]:
        """See `VideoModel`; prompts are points and a box, or a mask alone, or what else the graphs take."""
        checked_embedding(embedding, self.identity)
        clock = Clock(limit)
        work = [one for one in asked if one.prompt is not None or frame not in one.bank.prompted]
        answers = self._answers(embedding, frame, work, course, clock)
        memories = self._memories(embedding, answers, self._hard(work), clock)
        fresh = {
            id(one): self._remember(one, frame, Sighting(answer.logits, answer.score, answer.presence, memory))
            for one, answer, memory in zip(work, answers, memories, strict=True)
        }
        return [fresh.get(id(one)) or one.bank.prompted[frame] for one in asked]

    @abstractmethod
    def _answers(
        self, embedding: Embedding, frame: int, work: Sequence[Asked[Bank]], course: Course, clock: Clock
    ) -> list[Answer]: ...

    @abstractmethod
    def _memories(self, embedding: Embedding, answers: Sequence[Answer], hard: Sequence[bool], clock: Clock) -> list[Memory]:
        """Of answers; those that are `hard` are made of masks without shades."""

    def _hard(self, work: Sequence[Asked[Bank]]) -> list[bool]:
        hard = [one.prompt is not None for one in work]
        return hard if self.rules.each_for_itself else [any(hard)] * len(hard)

    def _remember(self, one: Asked[Bank], frame: int, sighting: Sighting) -> Sighting:
        bank, first = one.bank, is_first(one, frame)
        if first or (one.prompt is not None and self.rules.keeps_corrections):
            bank.prompted[frame] = sighting
            bank.features.pop(frame, None)
            bank.pointers.pop(frame, None)
        else:
            bank.features[frame], bank.pointers[frame] = sighting.memory.features, sighting.memory.pointer
            if self.rules.forgets:
                bank.let_go(frame, self.reach)
        if not first:
            bank.tracked.add(frame)
        return sighting


class Sam2Video(Remembering):
    """A SAM 2.1 that tracks, from official weights; prompts may also be points and a box with earlier logits or a rough mask."""

    refines = True

    def __init__(
        self,
        name: str,
        identity: str,
        sessions: Sessions,
        config: Mapping[str, Any],
        preprocessor: Mapping[str, Any],
        *,
        rules: Rules | None = None,
    ) -> None:
        """Raises BadWeights: the graphs, `config.json` and `preprocessor_config.json` contradict each other."""
        self.name, self.identity, self.provider = name, identity, sessions.encoder.provider
        self._sessions, self.rules = sessions, rules or Rules()
        self._encoder = Encoder(name, sessions.encoder, preprocessor)
        self._stability = parse_stability(config)
        self.reach, self._choice = parse_reach(config), _choice(config)

    @property
    def side(self) -> int:
        """Height and width of the model's input in pixels."""
        return self._encoder.side

    def encode(self, image: Image, limit: Limit = NO_LIMIT) -> Embedding:
        """See `PromptedModel`; the embedding of a picture and that of a frame are the same."""
        return self._encoder.encode(image, self.identity, limit)

    def _answers(
        self, embedding: Embedding, frame: int, work: Sequence[Asked[Bank]], course: Course, clock: Clock
    ) -> list[Answer]:
        drawn = [one for one in work if one.prompt is not None and is_drawn(one.prompt)]
        others = [one for one in work if one not in drawn]
        found = {id(one): self._given(embedding, one.prompt.mask, clock) for one in drawn if one.prompt and one.prompt.mask}
        seen = self._seen(embedding, frame, others, course, clock)
        questions = [
            self._question(embedding, one.prompt, coarse, first=is_first(one, frame))
            for one, coarse in zip(others, seen, strict=True)
        ]
        for group in batches([len(question.clicks[1]) for question in questions]):
            decoded = self._decode(embedding, [questions[at] for at in group], clock)
            found.update({id(others[at]): answer for at, answer in zip(group, decoded, strict=True)})
        return [found[id(one)] for one in work]

    def _seen(
        self, embedding: Embedding, frame: int, others: Sequence[Asked[Bank]], course: Course, clock: Clock
    ) -> list[Floats]:
        """The frame's coarsest embedding [D, h, w] for each object: as it is at a first prompt, else in the light of its bank."""
        plain = embedding.arrays[2][0]
        recalled = [None if is_first(one, frame) else recall(one.bank, frame, course, self.reach, self.rules) for one in others]
        found = {at: plain for at, one in enumerate(recalled) if one is None}
        by_times: dict[tuple[Any, ...], list[int]] = {}
        for at, one in enumerate(recalled):
            if one is not None:
                by_times.setdefault(one.times, []).append(at)
        for group in by_times.values():
            recalls = [one for at in group if (one := recalled[at]) is not None]
            found.update(zip(group, self._attend(embedding, recalls, clock), strict=True))
        return [found[at] for at in range(len(others))]

    def _attend(self, embedding: Embedding, recalls: Sequence[Recall], clock: Clock) -> list[Floats]:
        """The frame in the light of some banks that have the same frames: [D, h, w] each."""
        session, (memory_offsets, pointer_offsets) = self._sessions.memory_attention, recalls[0].times
        depth = embedding.arrays[2].shape[1]
        found: list[Floats] = []
        for start in range(0, len(recalls), MAX_ATTENDING):
            part = recalls[start : start + MAX_ATTENDING]
            pointers = np.array([one.pointers for one in part], np.float32)
            feed = {
                COARSE: embedding.arrays[2],
                "memory": np.array([one.memories for one in part]),
                "memory_offsets": np.array(memory_offsets, np.int64),
                "object_pointers": pointers.reshape(len(part), len(pointer_offsets), depth),
                "pointer_offsets": np.array(pointer_offsets, np.float32),
            }
            found += list(finite(run(session, feed, clock)["conditioned_embeddings"]))
        return found

    def _question(self, embedding: Embedding, prompt: Prompt | None, coarse: Floats, *, first: bool) -> _Question:
        if prompt is None:
            return _Question(coarse, NO_CLICKS, None, self._choice.several(0, first=first))
        several = self._choice.several(len(prompt.points) + 2 * (prompt.box is not None), first=first)
        quarter = self.side // 4
        logits = None if prompt.logits is None else checked_logits(prompt.logits, quarter).clip(-MAX_LOGIT, MAX_LOGIT)
        if logits is None and prompt.mask is not None:
            shares = geometry.shrink_mask(checked_mask(prompt.mask, embedding).to_array(), (quarter, quarter))
            logits = (shares * 2 - 1) * np.float32(GIVEN)
        return _Question(coarse, clicks_of(prompt, embedding.size, self.side), logits, several)

    def _decode(self, embedding: Embedding, questions: Sequence[_Question], clock: Clock) -> list[Answer]:
        """Answers to questions with equally many points."""
        quarter = self.side // 4
        nothing = np.zeros((quarter, quarter), np.float32)
        masks = [nothing if question.mask_input is None else question.mask_input for question in questions]
        feed = {
            **dict(zip(EMBEDDINGS[:2], embedding.arrays[:2], strict=True)),
            COARSE: np.stack([question.coarse for question in questions]),
            "point_coords": np.stack([question.clicks[0] for question in questions]),
            "point_labels": np.stack([question.clicks[1] for question in questions]),
            "mask_input": np.stack(masks)[:, None],
            "has_mask_input": np.array([question.mask_input is not None for question in questions], np.float32),
        }
        found = {name: finite(array) for name, array in run(self._sessions.decoder, feed, clock).items()}
        return [self._chosen({name: array[at] for name, array in found.items()}, one) for at, one in enumerate(questions)]

    def _chosen(self, found: Mapping[str, Floats], question: _Question) -> Answer:
        """The published choice among the four masks: the best of the last three, or the first, if it is stable."""
        logits, scores, pointers = found["masks"], found["iou_scores"], found["object_pointers"]
        best = 1 + int(scores[1:].argmax())
        index, token = (best, best) if question.several else (0 if self._stability.accepts(logits[0]) else best, 0)
        presence = float(found["object_score_logits"][0])
        shown = logits[index].copy() if presence > 0 else np.full_like(logits[index], ABSENT)
        return Answer(shown, shown, float(np.clip(scores[index], 0, 1)), presence, pointers[token].copy())

    def _given(self, embedding: Embedding, mask: Mask, clock: Clock) -> Answer:
        """A mask that a person drew is the answer; the model only makes its pointer."""
        shares = geometry.resize_smoothed(checked_mask(mask, embedding).to_array().astype(np.float32), (self.side, self.side))
        feed = {COARSE: embedding.arrays[2], "mask": shares[None, None]}
        prepared = run(self._sessions.mask_prompt, feed, clock)
        question = _Question(prepared["plain_embeddings"][0], NO_CLICKS, prepared["mask_input"][0, 0], several=True)
        (seen,) = self._decode(embedding, [question], clock)
        detail = (shares * 2 - 1) * np.float32(GIVEN)
        there = bool(shares.any())
        pointer = seen.pointer if there else prepared["absent_pointer"][0]
        logits = geometry.resize_smoothed(detail, (self.side // 4,) * 2)
        return Answer(logits, detail, 1.0, GIVEN if there else -GIVEN, pointer)

    def _memories(self, embedding: Embedding, answers: Sequence[Answer], hard: Sequence[bool], clock: Clock) -> list[Memory]:
        found: dict[int, Memory] = {}
        for group in batches([len(answer.detail) for answer in answers]):
            feed = {
                COARSE: embedding.arrays[2],
                "mask_logits": np.stack([answers[at].detail for at in group])[:, None],
                "object_score_logits": np.array([[answers[at].presence] for at in group], np.float32),
                "binarize": np.array([hard[at] for at in group], np.float32),
            }
            features = finite(run(self._sessions.memory_encoder, feed, clock)["memory"])
            found.update({at: Memory(one.copy(), answers[at].pointer) for at, one in zip(group, features, strict=True)})
        return [found[at] for at in range(len(answers))]


def run(session: Session, feed: Mapping[str, NDArray[Any]], clock: Clock) -> dict[str, NDArray[Any]]:
    left = clock.left
    return session.run(feed, stop=left.stop, deadline_s=left.deadline_s)


def is_first(one: Asked[Bank], frame: int) -> bool:
    """A prompt on a frame that was not tracked: the frame is seen as it is, not in the light of others."""
    return one.prompt is not None and frame not in one.bank.tracked


def is_drawn(prompt: Prompt) -> bool:
    """A mask and nothing else: it is the answer, not a hint."""
    return prompt.mask is not None and not prompt.points and prompt.box is None and prompt.logits is None


def checked_mask(mask: Mask, embedding: Embedding) -> Mask:
    if mask.size != embedding.size:
        raise BadPrompt(f"a mask of {mask.size} pixels for a picture of {embedding.size}", code="prompt.mask")
    return mask


def _choice(config: Mapping[str, Any]) -> _Choice:
    given = {one.name: config[one.name] for one in fields(_Choice) if one.name in config}
    wrong = {name: value for name, value in given.items() if not isinstance(value, int)}
    if wrong:
        raise BadWeights(f"the config has {wrong!r:.200}, no numbers", code="weights.config")
    return _Choice(**given)


def parse_reach(config: Mapping[str, Any]) -> Reach:
    memories = config.get("num_maskmem", Reach.memories)
    pointers = config.get("max_object_pointers_in_encoder", Reach.pointers)
    if not all(isinstance(number, int) and 1 < number <= 100 for number in (memories, pointers)):
        raise BadWeights(f"the config has memories {memories!r:.50} and pointers {pointers!r:.50}", code="weights.config")
    return Reach(memories, pointers)
