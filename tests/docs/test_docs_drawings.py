"""The drawings are those of their script, and name what there is."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from tests.documented import ROOT, read
from tools.diagrams import DRAWINGS, Drawing

PAGE = read("docs/architecture.md")


@pytest.mark.parametrize("drawing", DRAWINGS, ids=lambda one: one.file)
def test_the_file_is_as_drawn(drawing: Drawing) -> None:
    assert (ROOT / "docs" / drawing.file).read_text("utf-8") == drawing.svg(), "python -m tools.diagrams draws them anew"
    assert f"]({drawing.file})" in PAGE


@pytest.mark.parametrize("drawing", DRAWINGS, ids=lambda one: one.file)
def test_no_two_boxes_lie_on_each_other_and_arrows_are_straight(drawing: Drawing) -> None:
    at = {node.name: (node.column, node.row) for node in drawing.nodes}
    assert len(set(at.values())) == len(drawing.nodes) == len(at)
    assert all(at[one][0] == at[other][0] or at[one][1] == at[other][1] for one, other, _ in drawing.arrows)


@pytest.mark.parametrize("drawing", DRAWINGS, ids=lambda one: one.file)
def test_it_needs_nothing_from_elsewhere(drawing: Drawing) -> None:
    tree = ET.fromstring(drawing.svg())
    assert not [value for node in tree.iter() for name, value in node.items() if "href" in name or "://" in value]
