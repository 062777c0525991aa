"""The page on models says what the catalogue says."""

from __future__ import annotations

from locara_label.weights import catalogue
from tests.documented import read
from tools.catalogue_page import FAMILIES, with_tables

PAGE = read("docs/models.md")


def test_the_tables_are_those_of_the_catalogue() -> None:
    assert with_tables(PAGE) == PAGE, "python -m tools.catalogue_page writes them anew"


def test_every_model_and_licence_is_named() -> None:
    for row in catalogue.rows():
        assert f"| `{row.name}` | {row.task} | {row.licence.id} |" in PAGE
        assert row.licence.url in PAGE
    assert set(FAMILIES) == {row.family for row in catalogue.rows()}


def test_what_may_be_used_commercially() -> None:
    free = {row.family for row in catalogue.rows() if not row.licence.must_accept and row.bundled is None}
    assert free >= {"sam2", "grounding-dino"}
    assert not {"segformer", "mask2former"} & free
