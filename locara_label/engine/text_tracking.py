"""Text prompts on a video: what a text model finds on a frame, which of the followed objects that is, and what is new.

Source: Ren et al., "Grounded SAM: Assembling Open-World Models for Diverse Visual Tasks", 2024, carried through video as its
authors do with SAM 2: boxes of a text model on a frame become prompts of the tracker, and are asked for again every so often.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from locara_label.engine.loading import load_text_model
from locara_label.errors import BadPrompt
from locara_label.models.base import Clock, Image, TextModel
from locara_label.models.grounded import distinct
from locara_label.types import Box, Detection, Grounded, Mask, TextPrompt

SAME = 0.5
"""IoU of two masks from which on they show one object."""
LOW_SCORE = 0.5
"""Below it a followed mask is not trusted, and a detection that confirms it shows the object anew."""


@dataclass(frozen=True)
class Followed:
    """An object as it was followed to a frame.

    Attributes:
        phrase: that found it; None where a person showed it.
        mask: on the frame; None where it is out of sight there.
        last: where it was last in sight; None where it never was.
    """

    phrase: str | None
    mask: Mask | None
    last: Box | None


@dataclass(frozen=True)
class Matches:
    """What detections on a frame are; by their numbers, objects by theirs. Those in none of these are duplicates.

    Attributes:
        confirmed: detections of followed objects of their phrase, in sight.
        known: detections of followed objects in sight that another phrase found, or a person showed.
        back: detections of objects that were out of sight.
        fresh: detections of new objects, best first.
    """

    confirmed: dict[int, int]
    known: dict[int, int]
    back: dict[int, int]
    fresh: list[int]


def match(followed: Mapping[int, Followed], found: Sequence[Grounded]) -> Matches:
    """Which object each detection shows.

    A detection and a followed object are one where their masks overlap with an IoU of `SAME`, objects of its phrase before
    others, the best pairs first and each but once. Another detection that overlaps so is a duplicate, and so is one that shares
    half of the smaller mask with an object of its phrase. What is left shows the objects of its phrase that are out of sight,
    each the one whose last place is nearest; and then new ones.

    Args:
        followed: objects by number, with masks of the frame's size.
        found: detections with masks of the same size.
    """
    overlaps = _overlaps(followed, found)
    own = {pair for pair in overlaps if followed[pair[1]].phrase == found[pair[0]].phrase}
    confirmed = _best_pairs({pair: iou for pair, iou in overlaps.items() if pair in own and iou >= SAME})
    taken = set(confirmed.values())
    others = {pair: iou for pair, iou in overlaps.items() if iou >= SAME and pair[0] not in confirmed and pair[1] not in taken}
    known = _best_pairs(others)
    doubled = {at for (at, number), iou in overlaps.items() if iou >= SAME or (at, number) in own}
    left = sorted(set(range(len(found))) - doubled, key=lambda at: -found[at].box_score)
    back = _best_pairs(_nearness(followed, found, left))
    fresh: list[int] = []
    for at in left:
        if at not in back and not any(_double(found[at], found[other]) for other in (*back, *fresh)):
            fresh.append(at)
    return Matches(confirmed, known, back, fresh)


def _overlaps(followed: Mapping[int, Followed], found: Sequence[Grounded]) -> dict[tuple[int, int], float]:
    """IoU of the masks of those pairs that share half of the smaller one."""
    pairs = ((at, number, one, seen.mask) for at, one in enumerate(found) for number, seen in followed.items())
    return {(at, number): one.mask.iou(mask) for at, number, one, mask in pairs if mask is not None and _shared(one.mask, mask)}


def _shared(one: Mask, other: Mask) -> bool:
    """Whether two masks share half of the smaller one, as all with an IoU of `SAME` do."""
    return one.intersection(other).area >= SAME * min(one.area, other.area)


def _nearness(followed: Mapping[int, Followed], found: Sequence[Grounded], left: Sequence[int]) -> dict[tuple[int, int], float]:
    """Of detections to objects of their phrase that are out of sight, greater where nearer."""
    return {
        (at, number): -_apart(found[at].box, one.last)
        for at in left
        for number, one in followed.items()
        if one.mask is None and one.last is not None and one.phrase == found[at].phrase
    }


def _best_pairs(worth: Mapping[tuple[int, int], float]) -> dict[int, int]:
    """Pairs in the order of their worth, each side but once."""
    pairs: dict[int, int] = {}
    for at, number in sorted(worth, key=lambda pair: (-worth[pair], pair)):
        if at not in pairs and number not in pairs.values():
            pairs[at] = number
    return pairs


def _double(one: Grounded, other: Grounded) -> bool:
    return one.phrase == other.phrase and _shared(one.mask, other.mask)


def _apart(one: Box, other: Box) -> float:
    """Pixels between the centres of two boxes."""
    return math.hypot(one.x0 + one.x1 - other.x0 - other.x1, one.y0 + one.y1 - other.y0 - other.y1) / 2


@dataclass(eq=False)
class Asking:
    """What a session was asked for in words, and on which frames it has looked.

    Attributes:
        model: finds boxes; a name is loaded when it is first needed.
        sought: all phrases so far, with the thresholds of the last text; None before the first.
        done: frames on which all of them were asked for.
        named: phrases that have found each object, by its number.
    """

    model: TextModel | str
    sought: TextPrompt | None = None
    done: set[int] = field(default_factory=set)
    named: dict[int, set[str]] = field(default_factory=dict)

    def widen(self, text: TextPrompt) -> None:
        """Remembers a text, for frames to come."""
        known = self.sought.phrases if self.sought is not None else ()
        phrases = tuple(dict.fromkeys([*known, *text.phrases]))
        wider = TextPrompt(phrases, text.box_threshold, text.text_threshold)
        if wider != self.sought:
            self.sought = wider
            self.done.clear()

    def boxes(self, image: Image, text: TextPrompt, clock: Clock) -> list[Detection]:
        """What a text finds on a picture, best first, duplicates left out.

        Raises:
            ModelError: the named model cannot be loaded.
            BadPrompt, Cancelled, DeadlineExceeded, InferenceFailed: see `TextModel`.
        """
        if isinstance(self.model, str):
            self.model = load_text_model(self.model)
        return distinct(self.model.decode_many(self.model.encode(image, clock.left), [text], clock.left)[0])


def asked(text: str | Sequence[str] | TextPrompt) -> TextPrompt:
    """A text as it is typed, or a list of phrases, as a prompt. Raises BadPrompt; see `TextPrompt`."""
    if isinstance(text, TextPrompt):
        return text
    if isinstance(text, str) or (isinstance(text, Sequence) and all(isinstance(phrase, str) for phrase in text)):
        return TextPrompt.of(text)
    raise BadPrompt(f"a text is a string or a list of strings, got {text!r:.100}", code="prompt.text")
