"""The examples of docs/coco.md run, one after the other, in an empty folder."""

import re
from pathlib import Path

import pytest

# pycocotools decodes through an array protocol that NumPy 2 calls old.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

PAGE = Path(__file__).parents[2] / "docs" / "coco.md"


def test_the_examples_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    examples = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert len(examples) >= 4
    names = {}
    for example in examples:
        exec(compile(example, str(PAGE), "exec"), names)
