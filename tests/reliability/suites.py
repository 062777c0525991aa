"""Every suite: what it promises, how many cases a full run has, and where its cases are."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass

from tests.hostile.judging import Summary


@dataclass(frozen=True)
class Suite:
    """Cases that are numbered from 0.

    Attributes:
        name: of the suite in the results.
        kind: "hostile" or "fault".
        promise: what has to hold for every case.
        asked: cases of a full run.
        unit: what one case is.
        part: cases of one process; a run that is broken off goes on behind the last whole part.
        work: "module:function", which takes the numbers of the cases to run.
    """

    name: str
    kind: str
    promise: str
    asked: int
    unit: str
    part: int
    work: str

    def run(self, numbers: range) -> Summary:
        module, _, name = self.work.partition(":")
        work: Callable[[range], Summary] = getattr(importlib.import_module(module), name)
        return work(numbers)

    def count(self, share: float) -> int:
        """Cases of a run of a part of the suite; at least one."""
        return max(1, round(self.asked * share))


_BY = "tests.reliability.by_pytest"
SUITES = (
    Suite("pictures", "hostile", "decoded or refused with a code, at most 5 s of processor time, memory up to 1.5 GB",
          10_000, "pictures", 500, "tests.hostile.mutate:part"),
    Suite("requests", "hostile", "answered with a status below 500 or closed, within 10 s, whatever the bytes are",
          10_000, "requests", 5000, "tests.hostile.wire:run"),
    Suite("weights", "hostile", "refused with a code, or run within 20 s of processor time and 2 GB; from the store refused",
          2000, "changed files", 500, "tests.hostile.weights:part"),
    Suite("urls", "hostile", "no packet to an address that is not public or not granted, by redirects or rebinding",
          60, "addresses", 60, f"{_BY}:urls"),
    Suite("paths", "hostile", "no file outside the granted folder is opened, and none is told about",
          40, "tricks", 40, f"{_BY}:paths"),
    Suite("browsers", "hostile", "forged Host refused on every route, no answer readable by a page of another origin",
          10, "tests over all routes", 10, f"{_BY}:browsers"),
    Suite("secrets", "hostile", "no secret in an answer, a line of the log or a metric, through every route and failure",
          30, "tests", 30, f"{_BY}:secrets"),
    Suite("texts", "hostile", "any text is read or refused with a code", 100, "tests", 100, f"{_BY}:texts"),
    Suite("videos", "hostile", "opened or refused with a code within 30 s, no decoding process left, memory of one up to 2 GB",
          500, "videos", 50, "tests.hostile.videos:part"),
    Suite("bodies", "hostile", "answered or refused with a code, no 5xx, JSON without NaN",
          90_000, "bodies", 2500, "tests.hostile.bodies:part"),
    Suite("disks", "fault", "full or read-only: one coded error; with room again the same result; clicks need no disk",
          24, "disks", 24, "tests.faults.disks:part"),
    Suite("downloads", "fault", "killed, cut, lied to: what was kept stays, nothing corrupt is taken, 8 processes download once",
          50, "kills and faults", 50, f"{_BY}:downloads"),
    Suite("masklets", "fault", "kill -9 while masklets are stored: what was acknowledged is there, and nothing half",
          50, "kills", 25, "tests.faults.masklet_kill:part"),
    Suite("clocks", "fault", "the clock jumps by an hour, days, years: clicks are answered, nothing expires",
          5, "tests", 5, f"{_BY}:clocks"),
    Suite("leaving", "fault", "who leaves leaves nothing behind; many at once get their own masks; a killed server's runs go on",
          600, "requests and tests", 600, f"{_BY}:leaving"),
    Suite("label-studio", "fault", "a real Label Studio stops and comes back: known pictures are answered, then everything",
          1, "outages", 1, f"{_BY}:label_studio"),
    Suite("decoders", "fault", "the run fails with a code, others are answered, and the session goes on within 5 s + rebuilding",
          50, "deaths", 10, "tests.faults.decoders:part"),
    Suite("workers", "fault", "the process that runs models dies: at most one request fails, the next answer within 5 s + start",
          50, "deaths", 25, "tests.faults.workers:part"),
    Suite("stops", "fault", "SIGTERM under load: every accepted request is answered, the server ends within 25 s",
          100, "stops", 5, "tests.faults.stopping:part"),
    Suite("batch", "fault", "kill -9, then resumed: every file as of an uninterrupted run, no finished shard redone",
          100, "kills", 10, "tests.faults.batch_kill:part"),
    Suite("ray", "fault", "driver, actor or machine of a Ray cluster killed: every file as of an uninterrupted local run",
          100, "kills", 10, "tests.faults.ray_kill:part"),
    Suite("overload", "fault", "ten times what it can do: 200, 429 with Retry-After or 503; memory grows by at most 50 MB",
          10, "minutes", 10, "tests.faults.overload:part"),
    Suite("soak", "fault", "memory grows by at most 50 MB after the warm-up; open files, threads and processes do not grow",
          60, "minutes", 60, "tests.faults.soak:part"),
)  # fmt: skip


def find(name: str) -> Suite:
    """Raises KeyError: there is none of this name."""
    return {suite.name: suite for suite in SUITES}[name]
