"""What a page shows: its blocks of code, the commands in them, and the reason why one is not run."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import click

from locara_label.cli.app import app

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md")))
"""Below the root of the repository; decisions show no code that is run."""
_MARK = r"^<!-- (?:not run: (?P<reason>[^\n]+)|run by: (?P<test>[^\n]+)) -->\n\n?"
_BLOCK = re.compile(rf"(?:{_MARK})?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)
_FILE = re.compile(r"# ([\w.-]+\.\w+)\n")
_VARIABLE = re.compile(r"([A-Z][A-Z0-9_]*)=(.*)", re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A block of code.

    Attributes:
        language: as written; empty for none.
        line: of the page, from 1.
        reason: why it is not run, None where it is.
        test: the file of the test that runs it, None where `tests/docs` does.
    """

    page: str
    language: str
    text: str
    line: int
    reason: str | None
    test: str | None

    @property
    def file(self) -> str | None:
        """The file that it shows, whose name is in its first line."""
        found = _FILE.match(self.text) if self.language in {"toml", "text", "json", "xml"} else None
        return found[1] if found else None


@dataclass(frozen=True)
class Command:
    """A command line of this package.

    Attributes:
        words: after `locara-label`.
        variables: that are set for it.
        output: what the page shows of it, None where it shows nothing.
    """

    words: list[str]
    variables: dict[str, str]
    output: str | None = None


def read(page: str) -> str:
    return (ROOT / page).read_text("utf-8")


def blocks(page: str, *languages: str) -> list[Block]:
    """In the order of the page; of all languages unless some are named."""
    text = read(page)
    found = [
        Block(page, one["language"], one["text"], text.count("\n", 0, one.start("text")), one["reason"], one["test"])
        for one in _BLOCK.finditer(text)
    ]
    return [one for one in found if not languages or one.language in languages]


def commands(block: Block) -> list[Command]:
    """Of a block of `sh`, where variables may be exported, or `console`, where lines with `$` are followed by their output."""
    return _typed(block.text) if block.language == "console" else _listed(block.text)


def inline(page: str) -> list[Command]:
    """Whole commands in the text, between backticks."""
    found = re.findall(r"`(locara-label [^`]+)`", re.sub(r"```.*?```", "", read(page), flags=re.DOTALL))
    return [Command(shlex.split(line)[1:], {}) for line in found]


def check_command(command: Command) -> None:
    """The command exists, and has the options that are shown."""
    words = list(command.words)
    found: click.Command = app
    context = click.Context(app)
    while isinstance(found, click.Group) and words:
        inner = found.get_command(context, words.pop(0))
        assert inner is not None, command.words
        found = inner
    known = {option for parameter in found.params for option in parameter.opts}
    assert {word.partition("=")[0] for word in words if word.startswith("--")} <= known, command.words


def _listed(text: str) -> list[Command]:
    exported: dict[str, str] = {}
    found = []
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        own = {}
        if words[:1] == ["export"]:
            exported |= _variables(words[1:])
            continue
        while words and (variable := _VARIABLE.fullmatch(words[0])):
            own[variable[1]] = variable[2]
            del words[0]
        if words[:1] == ["locara-label"]:
            found.append(Command(words[1:], exported | own))
    return found


def _variables(words: list[str]) -> dict[str, str]:
    return dict(one.groups() for word in words if (one := _VARIABLE.fullmatch(word)))


def _typed(text: str) -> list[Command]:
    parts = re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]
    found = []
    for line, _, output in (part.partition("\n") for part in parts):
        [command] = _listed(line)
        found.append(Command(command.words, command.variables, output))
    return found
