"""Values of Label Studio's JSON, taken only when they are what they should be."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Collection, Mapping
from typing import Any

from locara_label.errors import BadRequest

Fields = Mapping[str, Any]

_MAX_WHOLE = 1 << 53
_MAX_LEVELS = 100
_NESTING = frozenset((dict, list))


def parse_json(body: bytes) -> Fields:
    """The body of a request: a JSON object of finite numbers.

    Raises:
        BadRequest: code `request.json`; not UTF-8, not JSON, NaN or infinity, nested too deep, or not an object.
    """
    try:
        value = json.loads(body.decode("utf-8"), parse_constant=_refused)
    except RecursionError as error:
        raise BadRequest("the body is nested too deep", code="request.json") from error
    except ValueError as error:
        raise BadRequest(f"the body is not JSON: {str(error)[:200]}", code="request.json") from error
    _check_levels(value)
    return fields(value, "the body", "request.json")


def _check_levels(value: Any) -> None:
    """What is let in may be answered with, and writing it takes more of the stack than reading it did."""
    level: list[Collection[Any]] = [[value]]
    for _ in range(_MAX_LEVELS + 1):
        nested = [parts for parts in level if not _NESTING.isdisjoint(map(type, parts))]  # long lists of numbers go fast
        if not nested:
            return
        level = [_parts(one) for parts in nested for one in parts if type(one) in _NESTING]
    raise BadRequest(f"the body is nested deeper than {_MAX_LEVELS} levels", code="request.json")


def _parts(value: Any) -> Collection[Any]:
    return value.values() if isinstance(value, dict) else value


def _refused(constant: str) -> None:
    raise ValueError(f"{constant} is not a number of JSON")


def fields(value: Any, name: str, code: str) -> Fields:
    """The value as a JSON object."""
    if not isinstance(value, dict):
        raise BadRequest(f"{name} is not an object but {reprlib.repr(value)}", code=code)
    return value


def items(value: Any, name: str, code: str, most: int) -> list[Any]:
    """The value as a list of at most `most` entries."""
    if not isinstance(value, list):
        raise BadRequest(f"{name} is not a list but {reprlib.repr(value)}", code=code)
    if len(value) > most:
        raise BadRequest(f"{name} has {len(value)} entries, the limit is {most}", code="request.too_many")
    return value


def text(value: Any, name: str, code: str, most: int = 1000) -> str:
    """A string of 1 to `most` characters."""
    if not isinstance(value, str) or not 0 < len(value) <= most:
        raise BadRequest(f"{name} is not a text of 1 to {most} characters but {reprlib.repr(value)}", code=code)
    return value


def optional_text(value: Any, name: str, code: str, most: int = 1000) -> str | None:
    """As `text`; None and "" are None."""
    return None if value is None or value == "" else text(value, name, code, most)


def number(value: Any, name: str, code: str, low: float, high: float) -> float:
    """A finite number in low .. high."""
    if type(value) not in (int, float) or not low <= value <= high:
        raise BadRequest(f"{name} is not a number from {low:g} to {high:g} but {reprlib.repr(value)}", code=code)
    return float(value)


def whole(value: Any, name: str, code: str, high: int = _MAX_WHOLE) -> int:
    """A whole number in 0 .. high; a float without a fraction counts, as JavaScript knows no other."""
    if type(value) not in (int, float) or not 0 <= value <= high or value != int(value):
        raise BadRequest(f"{name} is not a whole number from 0 to {high} but {reprlib.repr(value)}", code=code)
    return int(value)
