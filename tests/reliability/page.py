"""docs/reliability.md, made from the results."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests.reliability.book import ROOT, Entry, read
from tests.reliability.suites import SUITES, Suite

PAGE = ROOT / "docs" / "reliability.md"
HEAD = """\
# Reliability

Every number on this page was measured by one command, which also wrote the page:

```sh
make reliability        # all suites to their full counts, hours; goes on where it was broken off
make reliability-page   # writes this page from what was reached
```

One suite, or a hundredth of each: `python -m tests.reliability run decoders`, `python -m tests.reliability run --share 0.01`. A
sample of every suite runs with the tests. What each suite protects from is in [Security](security.md).

A case that breaks a promise is a failure; so is a process that ends by itself in the middle of its cases. "Reached" is how many
cases have run of those that a full run has; a suite that has more tests than were asked for counts all of them."""


def write(path: Path = PAGE) -> None:
    path.write_text(text(read()), "utf-8")


def text(entries: dict[str, Entry]) -> str:
    """The page, as Markdown."""
    return "\n".join(_lines(entries)) + "\n"


def _lines(entries: dict[str, Entry]) -> Iterator[str]:
    yield HEAD
    for kind, title in (("hostile", "Hostile input"), ("fault", "Faults")):
        suites = [suite for suite in SUITES if suite.kind == kind]
        yield f"\n## {title}\n"
        yield "| suite | promise | reached / asked | failures | time | day |"
        yield "| --- | --- | --- | --- | --- | --- |"
        yield from (_row(suite, entries.get(suite.name) or Entry()) for suite in suites)
        yield "\nMeasured beside the promises:\n"
        yield from (line for suite in suites if (line := _figures(suite, entries.get(suite.name))))
    yield from _failures(entries)
    yield from _machines(entries)


def _row(suite: Suite, entry: Entry) -> str:
    reached = f"{entry.found.count:,} / {suite.asked:,} {suite.unit}"
    failures = str(len(entry.found.violations)) if entry.done else "not run"
    return f"| {suite.name} | {suite.promise} | {reached} | {failures} | {_time(entry.seconds)} | {entry.day or '-'} |"


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _figures(suite: Suite, entry: Entry | None) -> str:
    if entry is None or not entry.done:
        return ""
    known = [f"{name.replace('_', ' ')} {_number(value)}" for name, value in sorted(entry.found.figures.items())]
    came = [f"{name} {count:,}" for name, count in sorted(entry.found.outcomes.items(), key=lambda one: -one[1])[:8]]
    slowest = [f"slowest case {entry.found.slowest[0]:.1f} s"] if entry.found.slowest[0] >= 0.1 else []
    return f"- **{suite.name}**: {'; '.join([', '.join(came), *known, *slowest]).removeprefix('; ')}."


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:,.1f}"


def _failures(entries: dict[str, Entry]) -> Iterator[str]:
    failed = {name: entry for name, entry in entries.items() if entry.found.violations}
    if failed:
        yield "\n## Failures\n"
    for name, entry in sorted(failed.items()):
        yield from (
            f"- {name}: {' '.join(problem.split()).replace('|', '/').replace('<', '&lt;')[:300]}"
            for problem in entry.found.violations
        )


def _machines(entries: dict[str, Entry]) -> Iterator[str]:
    machines = sorted({entry.machine for entry in entries.values() if entry.machine})
    named = "; ".join(machines) or "none yet"
    yield f"\nMachine: {named}. It was shared with other work, as its load among the figures shows: times by the clock are"
    yield "upper bounds, and a bar of seconds that was missed at a load far above the number of cores says little of a quiet one."
