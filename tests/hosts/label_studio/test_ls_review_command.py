"""`label-studio review` as a command: a table, JSON, a page, and forgetting."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest

from locara_label.cli.app import run
from locara_label.datasets.agreement import boundary_distance
from locara_label.hosts.label_studio.masklets import MaskletStore
from locara_label.hosts.label_studio.review_store import AnswerStore
from tests.hosts.label_studio.fake_label_studio import LEGACY, labelling
from tests.hosts.label_studio.reviews import (
    CONFIG,
    GROWN,
    KEPT,
    add,
    annotation,
    block,
    by_hand,
    regions,
    request,
    worked,
)

fake = labelling(CONFIG)


@pytest.fixture
def call(fake, monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("LOCARA_LABEL_STUDIO_URL", fake.url)
    monkeypatch.setenv("LOCARA_LABEL_STUDIO_API_KEY", LEGACY)
    monkeypatch.setenv("LOCARA_DATA_DIR", str(tmp_path / "data"))

    def run_it(*options):
        code = run(["label-studio", "review", "--project", "1", *options])
        return code, capsys.readouterr().out

    return run_it


def recorded(tmp_path, *answers):
    with MaskletStore(tmp_path / "data" / "masklets.sqlite3") as store:
        AnswerStore(store).add(answers)


def test_the_table(call, fake, tmp_path):
    worked(fake)
    recorded(tmp_path, request(100.0, (["p1"], ["clicked"]), seconds=2.5))
    code, out = call()
    assert code == 0
    rows = [re.split(r"\s{2,}", line.strip()) for line in out.splitlines()]
    apart = boundary_distance(GROWN, block(10, 0, 22, 10)) / 3
    total = ["1", "2", "1", "2", "1", "0.944", f"{apart:.2f}", "0.800", "1.00", "2.5"]
    head = ["kept", "edited", "deleted", "added", "answered", "iou", "boundary", "answer-iou", "clicks", "seconds"]
    assert ["all", *head] in rows
    assert ["all", *total] in rows
    assert ["label", *head] in rows
    assert "annotator 5: 1 annotations, 5 objects; by the clock of Label Studio 61.5 s an annotation, 12.3 s an object" in out
    assert "1 requests were recorded, 0 of them without an answer; 0 of 1 objects" in out


def test_json(call, fake):
    worked(fake)
    code, out = call("--json")
    found = json.loads(out)
    assert (code, found["complete"], found["tasks"], found["total"]["kept"]) == (0, True, 1, 1)
    assert {one["region"]: one["status"] for one in found["regions"]}["grown"] == "edited"
    assert found["requests"] == {"recorded": 0, "failed": 0, "objects": 0, "unused": 0}
    assert "/data/upload" not in out


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.seen, self.titles, self._stack = [], [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        self._stack.append(tag)

    def handle_data(self, data):
        if self._stack and self._stack[-1] == "title":
            self.titles.append(data)

    def handle_endtag(self, tag):
        while self._stack and self._stack.pop() != tag:
            pass


HOSTILE = '<script src="//x.js">&"\u202e'


def test_the_page_needs_nothing_and_runs_nothing(call, fake, tmp_path):
    fake.config = CONFIG
    worked(fake)
    before = regions(KEPT, "a", HOSTILE, version=HOSTILE)
    add(fake, 2, before, annotation(8, before, by={"email": HOSTILE}, parent_prediction=101), version=HOSTILE, score=0.9)
    recorded(tmp_path, request(100.0, (["p1"], ["clicked"]), seconds=2.5))
    code, _ = call("--html", str(tmp_path / "page.html"))
    assert code == 0
    text = (tmp_path / "page.html").read_text("utf-8")
    tags = Tags()
    tags.feed(text)
    names = {tag for tag, _ in tags.seen}
    assert not names & {"script", "link", "img", "iframe", "object", "a", "image", "use"}
    assert not {key for _, attrs in tags.seen for key in attrs if key.startswith("on") or key in {"href", "src", "style"}}
    assert "http" not in text.replace("http-equiv", "")
    assert "default-src 'none'" in text
    assert "\u202e" not in text
    assert sum(tag == "svg" for tag, _ in tags.seen) == 6
    assert {"Cat: 1 kept", "Dog: 1 deleted", "0.95 to 1: 3", "1: 1", "0 to 3: 1"} <= set(tags.titles)
    assert "task 2: 0.900, 1.000" in tags.titles


def test_the_page_has_to_have_a_folder(call, fake, tmp_path):
    assert call("--html", str(tmp_path / "none" / "page.html"))[0] == 2
    assert fake.asked == []


def test_forgetting(call, fake, tmp_path):
    assert call("--forget")[1] == "0 recorded requests of project 1 are deleted\n"
    assert not (tmp_path / "data").exists()
    recorded(tmp_path, request(1.0, ("p", "r")), request(1.0, ("p", "r"), project=2))
    assert json.loads(call("--forget", "--json")[1]) == {"project": 1, "forgotten": 1}
    assert call("--forget", "--html", "x.html")[0] == 2
    with MaskletStore(tmp_path / "data" / "masklets.sqlite3") as store:
        assert len(AnswerStore(store).of_project(2)) == 1
    assert fake.asked == []


def test_a_review_that_is_not_whole_says_so(call, fake):
    worked(fake)
    fake.annotations[1][0]["result"].append(by_hand(KEPT, "bad") | {"original_width": -1})
    code, out = call()
    assert code == 3
    assert "task 1 annotation 7 region bad: error [request.size]" in out
    fake.annotations[1] = [annotation(1, "no list")]
    assert call()[0] == 1
