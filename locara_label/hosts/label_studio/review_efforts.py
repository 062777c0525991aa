"""How many clicks and seconds each object took, from the requests that were answered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from locara_label.hosts.label_studio.review_store import Answer, Asked

Key = tuple[int, str]
"""A task's id, and that of a region."""


@dataclass(frozen=True, slots=True)
class Effort:
    """What an object took.

    Attributes:
        regions: ids of the answers for it; each but the last one was replaced by the next, or offered beside it.
        clicks: requests that showed it anew or otherwise than before; a text counts once for each object that it found.
        seconds: from the arrival of the first of them to the answer to the last.
        model: that gave the last answer.
    """

    task: int
    regions: tuple[str, ...]
    clicks: int
    seconds: float
    model: str


def efforts(answers: Iterable[Answer]) -> list[Effort]:
    """One for each object that was shown, by task and time of the first request.

    Requests are about one object if they share a region: a click that adds to the one before comes with its point, too, and what
    improves a mask comes with that. A request that brings something new counts for the objects that are new in it only,
    as everything else is just sent again; one that brings nothing new, because something was moved, counts for all its objects.
    """
    ordered = sorted(answers, key=lambda one: (one.task, one.at_s))
    return [effort for _, group in groupby(ordered, key=lambda one: one.task) for effort in _of_task(list(group))]


def by_region(found: Sequence[Effort]) -> Mapping[Key, Effort]:
    """Efforts by each region that came of them."""
    return {(one.task, region): one for one in found for region in one.regions}


@dataclass(eq=False)
class _Object:
    """Requests for one object; `ids` of all regions that showed it or were answered, `regions` the answered ones in order."""

    ids: set[str]
    regions: list[str]
    requests: list[Answer]


class _Objects:
    """The objects of one task, found by any of their regions."""

    def __init__(self) -> None:
        self._by_id: dict[str, _Object] = {}

    def add(self, answer: Answer) -> None:
        if answer.kind == "text":  # all texts of a box share one region
            for region in dict.fromkeys(region for asked in answer.objects for region in asked.regions):
                self._put(_Object({region}, [region], [answer]))
            return
        news = [asked for asked in answer.objects if not self._by_id.keys() >= set(asked.prompts)]
        for asked in answer.objects:
            one = self._joined(asked)
            one.requests += [answer] if asked in news or not news else []

    def found(self) -> list[_Object]:
        return list(dict.fromkeys(self._by_id.values()))

    def _joined(self, asked: Asked) -> _Object:
        """The object that something asked is about; what was two objects before is one from now on."""
        same = dict.fromkeys(self._by_id[one] for one in asked.prompts if one in self._by_id)
        ids = {*asked.prompts, *asked.regions}.union(*(one.ids for one in same))
        regions = [region for one in same for region in one.regions] + list(asked.regions)
        joined = _Object(ids, regions, [request for one in same for request in one.requests])
        self._put(joined)
        return joined

    def _put(self, one: _Object) -> None:
        self._by_id |= dict.fromkeys(one.ids, one)


def _of_task(answers: list[Answer]) -> list[Effort]:
    objects = _Objects()
    for answer in answers:
        objects.add(answer)
    return [_effort(one) for one in objects.found() if one.requests]


def _effort(one: _Object) -> Effort:
    requests = sorted({id(request): request for request in one.requests}.values(), key=lambda request: request.at_s)
    first, last = requests[0], requests[-1]
    end_s = max(request.at_s + request.seconds for request in requests)
    return Effort(first.task, tuple(dict.fromkeys(one.regions)), len(requests), end_s - first.at_s, last.model)
