"""Runs the suites against hostile input and faults, and writes docs/reliability.md from what they found.

    python -m tests.reliability run [NAME ...] [--share 0.01] [--again] [--at-once 2] [--results FILE]
    python -m tests.reliability page
    python -m tests.reliability list

Without names it runs all, cheapest first. A run that was broken off goes on where it was. Exit status 1 when a case failed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.reliability import book, page
from tests.reliability.suites import SUITES, find


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser("run", help="run suites")
    running.add_argument("names", nargs="*", choices=[[], *(suite.name for suite in SUITES)], metavar="NAME")
    running.add_argument("--share", type=float, default=1.0, help="part of each suite's full count")
    running.add_argument("--again", action="store_true", help="forget what was reached before")
    running.add_argument("--at-once", type=int, default=1, help="parts of a suite, for suites that measure no time")
    running.add_argument("--results", type=Path, default=book.BOOK)
    part = commands.add_parser("part", help="some cases of a suite, in this process")
    part.add_argument("name")
    part.add_argument("start", type=int)
    part.add_argument("stop", type=int)
    commands.add_parser("page", help="write docs/reliability.md")
    commands.add_parser("list", help="name the suites")
    return {"run": _run, "part": _part, "page": _page, "list": _list}[(chosen := parser.parse_args(arguments)).command](chosen)


def _run(chosen: argparse.Namespace) -> int:
    failures = 0
    for suite in [find(name) for name in chosen.names] or SUITES:
        if chosen.again:
            book.keep(suite.name, book.Entry(), chosen.results)
        failures += len(book.go_on(suite, suite.count(chosen.share), chosen.results, chosen.at_once).found.violations)
    return 1 if failures else 0


def _part(chosen: argparse.Namespace) -> int:
    found = find(chosen.name).run(range(chosen.start, chosen.stop))
    print(json.dumps(found.to_json()))
    return 0


def _page(_: argparse.Namespace) -> int:
    page.write()
    return 0


def _list(_: argparse.Namespace) -> int:
    for suite in SUITES:
        print(f"{suite.name:12} {suite.asked:7} {suite.unit}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
