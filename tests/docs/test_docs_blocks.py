"""Everything that the pages show runs, in an empty folder, in the order of the page; what does not says why."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from locara_label.cli.app import run
from tests.cli.served import serve
from tests.docs.prepared import prepare, with_stand_ins
from tests.documented import PAGES, ROOT, Block, Command, blocks, check_command, commands, inline

# pycocotools decodes through an array protocol that NumPy 2 calls old.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

SHELL = ("sh", "console")
SLOW = {"README.md", "docs/label-studio.md", "docs/masklets.md", "docs/text.md", "docs/fiftyone.md", "docs/air-gapped.md"}
NOT_RUN = {"docs/fiftyone.md": 1, "docs/prelabel.md": 1, "docs/replicas.md": 4, "docs/scale.md": 3, "docs/start.md": 2}
"""How many blocks of a page are not run; their reasons stand before them."""
IN_FIFTYONE = "docs/fiftyone.md"
"""Its Python is run by tests/hosts/fiftyone/test_fo_docs.py, in an environment with FiftyOne."""


def shown(page: str) -> list[Command]:
    return [command for block in blocks(page, *SHELL) for command in commands(block)] + inline(page)


@pytest.mark.parametrize("page", PAGES)
def test_commands_and_their_options_exist(page: str) -> None:
    for command in shown(page):
        check_command(command)


def test_what_is_not_run_is_known() -> None:
    found = {page: [block.reason for block in blocks(page) if block.reason is not None] for page in PAGES}
    assert {page: len(reasons) for page, reasons in found.items() if reasons} == NOT_RUN


def test_what_other_tests_run_is_run_there() -> None:
    for block in (block for page in PAGES for block in blocks(page) if block.test is not None):
        assert Path(block.page).name in (ROOT / str(block.test)).read_text("utf-8"), block


@pytest.mark.parametrize("page", PAGES)
def test_every_block_says_its_language(page: str) -> None:
    assert all(block.language for block in blocks(page))


@pytest.mark.parametrize("page", PAGES)
def test_make_targets_exist(page: str) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make ([\w-]+)", "\n".join(block.text for block in blocks(page, "sh")), re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOCARA_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("LOCARA_DATA_DIR", str(tmp_path / "data-dir"))
    return tmp_path


@pytest.mark.parametrize("page", [pytest.param(page, marks=pytest.mark.slow if page in SLOW else ()) for page in PAGES])
def test_the_page_runs(page: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare(page, here)
    names: dict[str, object] = {}
    for block, after in pairwise([*blocks(page), None]):
        if block is not None and block.reason is None and block.test is None:
            _run(block, here, names, capsys)
            if block.language == "python" and after is not None and after.language == "text":
                assert capsys.readouterr().out.strip() == after.text.strip(), f"{page}, line {after.line}"


def _run(block: Block, here: Path, names: dict[str, object], capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    if block.language == "python" and block.page == IN_FIFTYONE:
        return
    if block.language == "python":
        program = "\n" * block.line + with_stand_ins(block.text, here)
        exec(compile(program, block.page, "exec"), names)
        return
    if block.language not in SHELL:
        return
    for command in commands(replace(block, text=with_stand_ins(block.text, here))):
        _call(block, command, here, capsys)


def _call(block: Block, command: Command, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = f"{block.page}, line {block.line}: {command.words}"
    if command.words[0] == "serve":
        with serve(here, *command.words[1:], **command.variables) as server:
            assert server.get("/health")[0] == 200, where
        return
    with pytest.MonkeyPatch.context() as patch:
        for name, value in command.variables.items():
            patch.setenv(name, value)
        code = run(command.words)
    told, said = capsys.readouterr()
    if command.output is None:
        assert code == 0, f"{where} exits with {code}: {said}{told}"
    else:
        assert _plain(command.output) in {_plain(told), _plain(told + said), _plain(said + told)}, where


def _plain(output: str) -> str:
    """Without what another machine or another folder would change."""
    return re.sub(r"[\d.]+ a second", "N a second", output).strip()
