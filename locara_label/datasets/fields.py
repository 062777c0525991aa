"""Values of a data set's JSON, taken only when they are what they should be."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any

from locara_label.errors import BadDataset

MAX_WHOLE = 1 << 53
"""Largest number that every JSON reader keeps exact."""

Fields = Mapping[str, Any]


def fields(value: Any, code: str) -> Fields:
    """The value as a JSON object, else `BadDataset` with this code."""
    if not isinstance(value, dict):
        raise BadDataset(f"is not an object but {reprlib.repr(value)}", code=code)
    return value


def whole(row: Fields, name: str, code: str) -> int:
    """A whole number in 0 .. 2^53."""
    value = _present(row, name, code)
    if type(value) is not int or not 0 <= value <= MAX_WHOLE:
        raise BadDataset(f"{name} is not a whole number from 0 up: {reprlib.repr(value)}", code=code)
    return value


def text(row: Fields, name: str, code: str) -> str:
    """A string that is not empty."""
    value = _present(row, name, code)
    if not isinstance(value, str) or not value:
        raise BadDataset(f"{name} is not a text: {reprlib.repr(value)}", code=code)
    return value


def flag(row: Fields, name: str, code: str, *, default: bool | None = None) -> bool:
    """0 or 1."""
    if default is not None and row.get(name) is None:
        return default
    value = _present(row, name, code)
    if type(value) not in (int, bool) or value not in (0, 1):
        raise BadDataset(f"{name} is not 0 or 1: {reprlib.repr(value)}", code=code)
    return bool(value)


def number(value: Any, name: str, code: str) -> float:
    """A finite number of a size that can be meant."""
    if not is_number(value):
        raise BadDataset(f"{name} is not a finite number: {reprlib.repr(value)}", code=code)
    return float(value)


def is_number(value: Any) -> bool:
    return type(value) in (int, float) and -MAX_WHOLE <= value <= MAX_WHOLE


def _present(row: Fields, name: str, code: str) -> Any:
    if name not in row:
        raise BadDataset(f"{name} is missing", code=code)
    return row[name]
