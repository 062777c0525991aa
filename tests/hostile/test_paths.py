"""Hostile paths: a file outside the granted folder is not read, not told about, and not even opened."""

from __future__ import annotations

import errno
import os
import socket
from dataclasses import dataclass
from pathlib import Path

import pytest

from locara_label.errors import FetchError, NotAllowed
from locara_label.fetch import Fetcher, Rules, paths
from tests.fetch.web import code_of

CANARY = b"canary outside of the root"
INSIDE = b"a picture"


@dataclass(frozen=True)
class Tree:
    """`root` is granted and holds a.jpg, sub/b.jpg and links; `outside` lies beside it with the canary."""

    root: Path
    outside: Path

    @property
    def canary(self) -> Path:
        return self.outside / "canary.jpg"

    def fetcher(self) -> Fetcher:
        return Fetcher(Rules(roots=(self.root,)))


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return make_tree(tmp_path)


def make_tree(folder: Path) -> Tree:
    root, outside = folder / "root", folder / "root-outside"
    (root / "sub").mkdir(parents=True)
    outside.mkdir()
    (root / "a.jpg").write_bytes(INSIDE)
    (root / "sub" / "b.jpg").write_bytes(INSIDE)
    (outside / "canary.jpg").write_bytes(CANARY)
    links = {
        "file": outside / "canary.jpg", "folder": outside, "relative": "../root-outside/canary.jpg", "up": "..",
        "missing": outside / "missing.jpg", "loop": root / "loop", "proc": "/proc/self/root", "top": "/", "chain": root / "file",
        "sub/deep": "../../root-outside", "self": root, "cwd": "/proc/self/cwd", "home": outside / "home-missing",
    }  # fmt: skip
    for name, target in links.items():
        (root / name).symlink_to(target)
    os.mkfifo(root / "fifo")
    return Tree(root, outside)


TRICKS = [
    "{canary}", "{outside}", "{root}", "{root}/", "{root}/.", "{root}/..", "{root}/../root-outside/canary.jpg",
    "{root}/sub/../../root-outside/canary.jpg", "{root}/./../root-outside/canary.jpg", "{root}//..//root-outside/canary.jpg",
    "{root}-outside/canary.jpg", "{root}/file", "{root}/folder/canary.jpg", "{root}/relative",
    "{root}/up/root-outside/canary.jpg",
    "{root}/missing", "{root}/folder/missing.jpg", "{root}/chain", "{root}/loop", "{root}/loop/a", "{root}/proc{canary}",
    "{root}/top{canary}", "{root}/sub/deep/canary.jpg", "{root}/proc/etc/passwd", "{root}/self/../root-outside/canary.jpg",
    "file://{canary}", "file://localhost{canary}", "file://{root}/..%2froot-outside/canary.jpg",
    "file://{root}/%2e%2e/root-outside/canary.jpg", "file://{root}/%2E%2E%2Froot-outside%2Fcanary.jpg", "FILE://{root}/file",
    "file://evil.example{root}/a.jpg", "file:{root}/a.jpg", "file:/{root}/a.jpg", "file://{root}/a.jpg?x", "file://{root}/a.jpg#x",
    "file://{root}/a.jpg%00", "file://{root}/%ff.jpg", "file:///etc/passwd", "file://", "file:", "file:///", "file:///proc/self/environ",
    "{root}/a.jpg\x00", "{root}\x00/a.jpg", "{root}/a.jpg\n", "\\\\evil.example\\share\\a.jpg",
    "{root}\\..\\root-outside\\canary.jpg",
    "C:\\Windows\\win.ini", "a.jpg", "./a.jpg", "../root-outside/canary.jpg", "sub/b.jpg", "~/a.jpg", "~root/a.jpg",
    "$HOME/a.jpg",
    "/etc/passwd", "/proc/self/environ", "/proc/self/fd/0", "/proc/self/root{canary}", "/dev/zero", "/dev/stdin", "/", ".", "..",
    "//etc/passwd", "/{canary}", " {canary}", "CON", "NUL", "\\\\.\\C:\\a", "{root}/\ud800.jpg", "{root}/home",
    "/" + "a/" * 5000, "{root}/sub/..", "{root}/sub/../a.jpg", "/data/upload/../..{canary}", "/data/local-files/?d=..{canary}",
]  # fmt: skip


def filled(trick: str, tree: Tree) -> str:
    return trick.replace("{root}", str(tree.root)).replace("{outside}", str(tree.outside)).replace("{canary}", str(tree.canary))


def test_there_are_many_tricks() -> None:
    assert len(set(TRICKS)) >= 40


@pytest.mark.parametrize("trick", TRICKS)
def test_a_trick_reads_nothing_and_tells_nothing(tree: Tree, trick: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree.root)
    monkeypatch.setenv("HOME", str(tree.root))
    opened = list[object]()
    monkeypatch.setattr(paths, "_descriptor", opened.append)
    reference = filled(trick, tree)
    with pytest.raises(NotAllowed) as caught:
        tree.fetcher().read(reference)
    assert opened == []
    assert caught.value.code in {"fetch.not_allowed", "fetch.scheme"}
    assert str(caught.value).isprintable()
    if caught.value.code == "fetch.not_allowed":
        assert str(caught.value).endswith("is not in a folder that is granted")
    with pytest.raises(NotAllowed):
        tree.fetcher().identity(reference)


@pytest.mark.parametrize(
    "trick", ["{outside}/{name}", "{root}/folder/{name}", "{root}/../root-outside/{name}", "file://{outside}/{name}"]
)
def test_the_error_is_the_same_whether_a_file_exists_outside(tree: Tree, trick: str) -> None:
    said = []
    for name in ("canary.jpg", "absent.jpg"):
        with pytest.raises(NotAllowed) as caught:
            tree.fetcher().read(filled(trick, tree).replace("{name}", name))
        said.append((caught.value.code, str(caught.value).replace(name, "")))
    assert said[0] == said[1]


@pytest.mark.parametrize(
    "reference",
    ["{root}/a.jpg", "{root}//sub/./b.jpg", "{root}/self/a.jpg", "file://{root}/a.jpg", "file://localhost{root}/sub/b%2ejpg"],
)
def test_what_lies_inside_is_read(tree: Tree, reference: str) -> None:
    assert tree.fetcher().read(filled(reference, tree)) == INSIDE


def test_a_root_may_be_named_through_a_link(tree: Tree) -> None:
    link = tree.outside / "to-root"
    link.symlink_to(tree.root)
    fetcher = Fetcher(Rules(roots=(tree.outside / "nowhere", link)))
    assert fetcher.read(str(link / "a.jpg")) == INSIDE
    assert fetcher.read(str(tree.root / "a.jpg")) == INSIDE
    assert code_of(lambda: fetcher.read(str(link / "file"))) == "fetch.not_allowed"


@pytest.mark.parametrize("name", ["a%2e%2e.jpg", "b ü\u202f.jpg", "c#d?e.jpg", "con.jpg", "..d.jpg"])
def test_plain_paths_are_taken_literally(tree: Tree, name: str) -> None:
    (tree.root / name).write_bytes(INSIDE)
    assert tree.fetcher().read(str(tree.root / name)) == INSIDE


def test_no_roots_grant_nothing(tree: Tree) -> None:
    assert code_of(lambda: Fetcher(Rules()).read(str(tree.root / "a.jpg"))) == "fetch.not_allowed"


def test_only_regular_files(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree.root)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        for name in ("fifo", "sub", "socket", "none.jpg", "a.jpg/b.jpg", "n" * 300):
            assert code_of(lambda name=name: tree.fetcher().read(str(tree.root / name))) == "fetch.not_found"  # type: ignore[misc]


def test_a_file_without_permission(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    # the tests may run as root, who may read everything
    monkeypatch.setattr(paths, "_descriptor", refused)
    assert code_of(lambda: tree.fetcher().read(str(tree.root / "a.jpg"))) == "fetch.unauthorised"


def test_the_size_is_limited_also_while_a_file_grows(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tree.root / "a.jpg")
    assert tree.fetcher().read(path, max_bytes=len(INSIDE)) == INSIDE
    assert code_of(lambda: tree.fetcher().read(path, max_bytes=len(INSIDE) - 1)) == "fetch.too_large"

    real = os.fstat

    def before_it_grew(descriptor: int) -> os.stat_result:
        status = real(descriptor)
        return os.stat_result((*status[:6], 0, *status[7:10]))

    monkeypatch.setattr(os, "fstat", before_it_grew)
    assert code_of(lambda: tree.fetcher().read(path, max_bytes=len(INSIDE) - 1)) == "fetch.too_large"


@pytest.mark.parametrize("swapped", ["sub", "sub/b.jpg"])
def test_a_link_that_appears_after_the_check_is_not_followed(tree: Tree, swapped: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = paths._descriptor

    def swap(granted: paths.Granted) -> int:
        place = tree.root / swapped
        place.rename(tree.root / "away")
        (tree.outside / "b.jpg").write_bytes(CANARY)
        place.symlink_to(tree.outside if swapped == "sub" else tree.canary)
        return real(granted)

    monkeypatch.setattr(paths, "_descriptor", swap)
    with pytest.raises(FetchError) as caught:
        tree.fetcher().read(str(tree.root / "sub" / "b.jpg"))
    assert caught.value.code in {"fetch.not_allowed", "fetch.not_found"}


def test_an_identity_follows_the_file(tree: Tree) -> None:
    path, fetcher = tree.root / "a.jpg", tree.fetcher()
    first = fetcher.identity(str(path))
    assert fetcher.identity(f"file://{path}") == fetcher.identity(str(tree.root / "self" / "a.jpg")) == first
    path.write_bytes(INSIDE + b"!")
    assert fetcher.identity(str(path)) != first
    assert code_of(lambda: fetcher.identity(str(tree.root / "none.jpg"))) == "fetch.not_found"


def test_no_descriptor_is_left_open(tree: Tree) -> None:
    before = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0
    for name in ("a.jpg", "sub/b.jpg", "fifo", "none.jpg", "sub/none/x.jpg", "file"):
        code_of(lambda name=name: tree.fetcher().read(str(tree.root / name)))  # type: ignore[misc]
    after = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0
    assert after == before
