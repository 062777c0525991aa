"""One JSON object read item by item, so that the memory needed is that of the longest item and not of the file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TextIO

from locara_label.errors import BadDataset

MAX_ITEM_CHARS = 64 << 20
_CHUNK_CHARS = 1 << 20
_LONGEST_TOKEN = 16  # "-Infinity", or two \\uXXXX escapes of one character
_SPACE = " \t\n\r"


@dataclass(frozen=True, slots=True)
class Entry:
    """A piece of the top-level object.

    Attributes:
        section: the key.
        index: the place in the section's list; -1 announces a list (also an empty one); None for a section that is no list.
        value: the decoded item, or the whole section when it is no list.
    """

    section: str
    index: int | None
    value: Any


def scan(path: Path, max_item_chars: int = MAX_ITEM_CHARS) -> Iterator[Entry]:
    """Every section of the object in the file, in file order; the items of a list section come one by one.

    Numbers that JSON cannot spell (NaN, Infinity) are refused; a number such as 1e999 is legal JSON and comes as an infinity.

    Raises:
        BadDataset: `dataset.unreadable`, `dataset.encoding` (not UTF-8), `dataset.json`, `dataset.not_finite`, `dataset.deep`
            (nested too deeply), `dataset.item_size`, `dataset.section_twice` or `dataset.not_object`.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            yield from _sections(_Window(file, max_item_chars))
    except OSError as error:
        raise BadDataset(f"{path} cannot be read: {error.strerror}", code="dataset.unreadable") from error


def scan_list(path: Path, max_item_chars: int = MAX_ITEM_CHARS) -> Iterator[Any]:
    """The items of a file that is one JSON list, in file order.

    Raises:
        BadDataset: as `scan`, and `dataset.not_list`.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            yield from _items(_Window(file, max_item_chars))
    except OSError as error:
        raise BadDataset(f"{path} cannot be read: {error.strerror}", code="dataset.unreadable") from error


def _items(window: _Window) -> Iterator[Any]:
    if window.peek() != "[":
        raise BadDataset("the file is not one JSON list", code="dataset.not_list")
    for _ in _members(window, "[]"):
        yield window.value()
    if window.peek():
        window.fail("something follows the list")


def _sections(window: _Window) -> Iterator[Entry]:
    if window.peek() != "{":
        raise BadDataset("the file is not one JSON object", code="dataset.not_object")
    seen: set[str] = set()
    for _ in _members(window, "{}"):
        section = _key(window)
        if section in seen:
            raise BadDataset(f"section {section!r} occurs twice", code="dataset.section_twice")
        seen.add(section)
        if window.peek() == "[":
            yield Entry(section, -1, None)
            for index in _members(window, "[]"):
                yield Entry(section, index, window.value())
        else:
            yield Entry(section, None, window.value())
    if window.peek():
        window.fail("something follows the object")


def _key(window: _Window) -> str:
    key = window.value() if window.peek() == '"' else window.fail("a key in quotes is expected")
    window.take(":")
    return str(key)


def _members(window: _Window, brackets: str) -> Iterator[int]:
    """Stops in front of each member of a list or object and behind its closing bracket."""
    window.take(brackets[0])
    if window.peek() == brackets[1]:
        window.take(brackets[1])
        return
    index = 0
    while True:
        yield index
        index += 1
        if window.take("," + brackets[1]) == brackets[1]:
            return


def _refuse(constant: str) -> NoReturn:
    raise BadDataset(f"{constant} is not a JSON number", code="dataset.not_finite")


class _Window:
    """The stretch of a text file that is being decoded."""

    def __init__(self, file: TextIO, max_item_chars: int) -> None:
        self._file, self._max = file, max_item_chars
        self._decoder = json.JSONDecoder(parse_constant=_refuse)
        self._text, self._at, self._passed, self._ended = "", 0, 0, False

    def peek(self) -> str:
        """The next character that is no space; empty at the end of the file."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in _SPACE:
                self._at += 1
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._grow():
                return ""

    def take(self, expected: str) -> str:
        """Moves past one of the expected characters and gives it."""
        found = self.peek()
        if not found or found not in expected:
            self.fail(f"expected {' or '.join(map(repr, expected))}, found {repr(found) if found else 'the end of the file'}")
        self._at += 1
        return found

    def value(self) -> Any:
        """Decodes the value that begins at the next character."""
        self.peek()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except BadDataset:
                raise
            except RecursionError:
                raise BadDataset(f"nested too deeply at character {self._passed + self._at}", code="dataset.deep") from None
            except ValueError as error:
                if self._is_final(error) or not self._grow():
                    self.fail(str(error).split(":")[0], getattr(error, "pos", None))
                continue
            if self._ends(value, end) or not self._grow():
                self._at = end
                return value

    def fail(self, what: str, at: int | None = None) -> NoReturn:
        position = self._passed + (self._at if at is None else at)
        raise BadDataset(f"not valid JSON at character {position}: {what}", code="dataset.json")

    def _is_final(self, error: ValueError) -> bool:
        """Whether reading on cannot mend it: only a fault at the edge, or a string that stays open, may come from the cut."""
        if not isinstance(error, json.JSONDecodeError):
            return True
        return error.pos + _LONGEST_TOKEN < len(self._text) and not error.msg.startswith("Unterminated string")

    def _ends(self, value: Any, end: int) -> bool:
        """A number at the edge of the window may go on behind it."""
        return not isinstance(value, (int, float)) or self._text[end : end + 1] in tuple(",]}" + _SPACE)

    def _grow(self) -> bool:
        """Drops what has been decoded and reads on, twice as far each time; false at the end of the file."""
        if self._ended:
            return False
        rest = self._text[self._at :]
        if len(rest) > self._max:
            raise BadDataset(f"an item is longer than {self._max} characters", code="dataset.item_size")
        more = self._read(max(_CHUNK_CHARS, len(rest)))
        self._passed += self._at
        self._text, self._at, self._ended = rest + more, 0, not more
        return bool(more)

    def _read(self, chars: int) -> str:
        try:
            return self._file.read(chars)
        except UnicodeDecodeError as error:
            raise BadDataset(f"the file is not UTF-8 text: {error.reason}", code="dataset.encoding") from error
