"""The page on troubleshooting names every code that the source has, and no other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache

from locara_label import errors
from tests.documented import ROOT, read

_CODE = re.compile(r"[a-z]+(?:_[a-z]+)*\.[a-z][a-z_0-9]*")
_FILE = re.compile(r"(bin|data|html|jpg|json|log|md|mp4|onnx|pkl|png|py|safetensors|sqlite3|toml|txt|xml|yml|zip)")
_NO_CODES = {"request.path"}
OWN_PAGES = {"batch", "download", "quickstart", "store"}
"""Families of codes that are also explained elsewhere."""
BUILT = {"video.id_twice", "image.video_unknown", "track.id_twice", "track.video_unknown"}
"""Put together by `datasets/shelf.py` from the kinds of its tables."""


@cache
def trees() -> tuple[ast.Module, ...]:
    return tuple(ast.parse(path.read_text("utf-8")) for path in (ROOT / "locara_label").rglob("*.py"))


def written() -> Iterator[str]:
    """Values of `code=` and of `code = ...` in the source."""
    for node in (node for tree in trees() for node in ast.walk(tree)):
        match node:
            case ast.keyword(arg="code", value=ast.Constant(value=str(code))):
                yield code
            case ast.Assign(targets=[ast.Name(id="code")], value=ast.Constant(value=str(code))):
                yield code


@cache
def in_source() -> frozenset[str]:
    """Also those that are handed on or looked up: every text that begins with the first word of a code."""
    found = set(written())
    families = {code.partition(".")[0] for code in found} | {"frame", "prediction", "region", "picture", "task"}
    texts = (node.value for tree in trees() for node in ast.walk(tree) if isinstance(node, ast.Constant))
    for text in texts:
        if isinstance(text, str) and _CODE.fullmatch(text):
            family, _, rest = text.partition(".")
            if family in families and not _FILE.fullmatch(rest):
                found.add(text)
    return frozenset(found - _NO_CODES)


def on_page(name: str = "docs/troubleshooting.md") -> list[str]:
    """What stands in the first column of its tables."""
    rows = re.findall(r"^\| (`[^|]*`) \|", read(name), re.MULTILINE)
    return [code for row in rows for code in re.findall(r"`([^`]+)`", row)]


def test_every_code_is_explained() -> None:
    assert not sorted(in_source() - set(on_page()))


def test_no_code_is_made_up() -> None:
    assert not sorted(set(on_page()) - in_source() - BUILT)


def test_no_code_is_explained_twice() -> None:
    found = on_page()
    assert sorted(found) == sorted(set(found))


def test_every_error_of_the_tree_is_explained() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.LocaraError)]
    assert {kind.code for kind in kinds} <= set(on_page())


def test_codes_of_other_pages_exist() -> None:
    known = in_source() | BUILT
    for path in sorted((ROOT / "docs").glob("*.md")):
        shown = {code for code in on_page(f"docs/{path.name}") if code.partition(".")[0] in OWN_PAGES}
        assert shown <= known, path.name
