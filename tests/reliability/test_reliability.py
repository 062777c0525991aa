"""The command that runs the suites and writes the page, and a sample of each suite; the full counts are its own business."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from tests.hostile.judging import Summary
from tests.reliability import book, by_pytest, page
from tests.reliability.__main__ import main
from tests.reliability.suites import SUITES, Suite, find

SAMPLED = {"weights": 24, "stops": 1, "decoders": 2, "workers": 6, "disks": 4, "masklets": 2}
"""Cases of the suites that no other test takes a sample of, or whose tests ask for more time than there is here."""


def suite(work: str, asked: int = 5) -> Suite:
    return Suite("made-up", "fault", "nothing", asked, "cases", 2, f"tests.reliability.test_reliability:{work}")


def sound(numbers: range) -> Summary:
    found = Summary(outcomes=Counter({"fine": len(numbers)}), figures={"largest": numbers.stop})
    for number in numbers:
        found.took(f"case {number}", number)
    return found


def test_every_suite_can_be_run() -> None:
    assert len({one.name for one in SUITES}) == len(SUITES)
    for one in SUITES:
        module, _, name = one.work.partition(":")
        assert callable(getattr(__import__(module, fromlist=[name]), name))
        assert one.kind in {"hostile", "fault"}


def test_a_run_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[range] = []

    def part(_: str, numbers: range) -> Summary:
        asked.append(numbers)
        return sound(numbers)

    monkeypatch.setattr(book, "run_part", part)
    results = tmp_path / "results.json"
    book.go_on(suite("sound"), 3, results)
    entry = book.go_on(suite("sound"), 5, results)
    assert asked == [range(2), range(2, 3), range(3, 5)]
    assert (entry.done, entry.found.count, entry.found.outcomes) == (5, 5, {"fine": 5})
    assert entry.found.figures.keys() == {"largest", "load_of_the_machine"}
    assert entry.found.figures["largest"] == 5
    assert book.read(results)["made-up"].to_json() == entry.to_json()
    book.go_on(suite("sound"), 5, results)
    assert len(asked) == 3


@pytest.mark.slow
def test_a_process_that_dies_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    done = book.run_part("no-such-suite", range(3))
    assert done.violations == ["cases 0 to 2: the process ended with status 1"]
    assert done.count == 3


def test_the_page_says_what_was_reached() -> None:
    entry = book.Entry(3, 60.0, "2026-01-01", "a machine", Summary(3, Counter({"fine": 3}), violations=["case 1: <bad>"]))
    text = page.text({"stops": entry})
    assert "| 3 / 100 stops | 1 | 60 s | 2026-01-01 |" in text
    assert "- stops: case 1: &lt;bad>" in text
    assert "| 0 / 10,000 pictures | not run |" in text
    assert "a machine" in text


def test_the_page_is_that_of_the_results() -> None:
    assert page.PAGE.read_text("utf-8") == page.text(book.read())


def test_tests_are_counted(tmp_path: Path) -> None:
    told = tmp_path / "told.xml"
    cases = '<testcase name="many[1]" time="1"/><testcase name="a" time="2"><failure message="wrong"/></testcase>'
    told.write_text(f'<testsuites><testsuite>{cases}<testcase name="b" time="0"><skipped/></testcase></testsuite></testsuites>')
    found = by_pytest.counted(by_pytest.ElementTree.parse(told), {"many": 50})
    assert (found.count, found.violations, found.outcomes) == (51, ["a: wrong"], {"passed": 1, "failed": 1, "skipped": 1})


def test_the_command_lists_the_suites(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    assert capsys.readouterr().out.count("\n") == len(SUITES)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="POSIX signals and namespaces")
@pytest.mark.parametrize("name", SAMPLED)
def test_a_sample(name: str) -> None:
    if name == "disks" and not by_pytest.can_mount():
        pytest.skip("needs mounts of its own, which this system does not allow")
    found = book.run_part(name, range(min(SAMPLED[name], find(name).asked)))
    assert found.violations == []
    assert found.count == SAMPLED[name]
