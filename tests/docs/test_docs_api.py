"""The page on Python has every public name, and each has a docstring to show."""

from __future__ import annotations

import importlib
import inspect
import re

import pytest

import locara_label
from tests.documented import read

SHOWN = re.findall(r"^::: ([\w.]+)$", read("docs/api.md"), re.MULTILINE)


def test_every_public_name_is_there() -> None:
    assert {f"locara_label.{name}" for name in locara_label.__all__ if name != "__version__"} <= set(SHOWN)
    assert len(SHOWN) == len(set(SHOWN))


@pytest.mark.parametrize("path", SHOWN)
def test_what_is_there_exists_and_says_what_it_is(path: str) -> None:
    home, _, name = path.rpartition(".")
    try:
        found = importlib.import_module(path)
    except ModuleNotFoundError:
        found = getattr(importlib.import_module(home), name)
    assert inspect.getdoc(found)
