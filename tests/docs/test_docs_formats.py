"""Every format of masklets is named where formats are told."""

from __future__ import annotations

import pytest

from locara_label.datasets.convert import FORMATS
from tests.documented import read


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_every_format_is_named(name: str) -> None:
    assert f"| `{name}` |" in read("docs/masklets.md")
    assert f'"{name}"' in read("docs/formats.md")


def test_every_format_has_a_section() -> None:
    page = read("docs/formats.md")
    assert page.count("\n## ") == 4 + len(FORMATS)
