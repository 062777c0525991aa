"""The page for beginners names every code; README begins with its command."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/start.md").read_text("utf-8")
README = (ROOT / "README.md").read_text("utf-8")


def test_every_code_is_named() -> None:
    sources = "".join(path.read_text("utf-8") for path in (ROOT / "locara_label/quickstart").glob("*.py"))
    raised = set(re.findall(r'code="(quickstart\.\w+)"', sources))
    assert raised == set(re.findall(r"^\| `(quickstart\.\w+)` \|", PAGE, re.MULTILINE))


def test_pictures_are_there() -> None:
    shown = re.findall(r"!\[.*?\]\((.*?)\)", PAGE)
    assert shown
    assert all((ROOT / "docs" / name).is_file() for name in shown)


def test_the_readme_begins_with_it() -> None:
    first = re.search(r"```sh\n(.*?)\s", README)
    assert first is not None
    block = README[first.start() : README.index("```", first.end())]
    assert block.splitlines()[1].startswith("make quickstart ")
    assert "make quickstart-check" in block


def test_release_and_extra_agree() -> None:
    from locara_label.quickstart.program import RELEASE

    assert f'"label-studio=={RELEASE}"' in (ROOT / "pyproject.toml").read_text("utf-8")
    assert f"label-studio=={RELEASE}" in (ROOT / "Makefile").read_text("utf-8")
