"""Disks that are full or read-only: one clear error, and once there is room everything goes on as if nothing had been.

    unshare --user --map-root-user --mount python -m tests.faults.disks 0 24

Mounts small disks of its own, so it runs where only it sees them. Prints a summary as JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from locara_label.errors import LocaraError, StoreFailed
from locara_label.hosts.label_studio.masklets import MaskletStore
from locara_label.weights.hub import Hub
from locara_label.weights.store import MINI, Store
from tests.faults import batch_kill, masklet_kill
from tests.faults.stopping import click, granted
from tests.hostile.judging import Summary
from tests.weights.hub_server import HubServer
from tests.weights.sample_models import make_row, repository

UNSHARE = ["unshare", "--user", "--map-root-user", "--mount"]
ROOMY = 64 << 20
PICTURES = 20
MAX_SECONDS = 300.0
CALLS = 200


class Disk:
    """A disk of so many bytes at a place."""

    def __init__(self, place: Path) -> None:
        self.place = place
        place.mkdir()
        _mount("-t", "tmpfs", "-o", f"size={ROOMY}", "none", str(place))

    def resize(self, size: int) -> None:
        _mount("-o", f"remount,rw,size={size}", str(self.place))

    def lock(self) -> None:
        _mount("-o", "remount,ro", str(self.place))

    def gone(self) -> None:
        subprocess.run(["umount", "--lazy", str(self.place)], check=True)


def _mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True)


class Cases:
    """What is tried on a disk; each gives how it was refused, and raises AssertionError where that was not as it should be."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.count, self.disks = folder, 0, list[Disk]()
        self.pictures = batch_kill.write_scenes(folder / "pictures", PICTURES)
        batch_kill.run(self.pictures, folder / "whole")
        self.wanted = batch_kill.tree(folder / "whole")
        self.bytes = sum(len(content) for content in self.wanted.values())

    def all(self) -> list[tuple[str, Callable[[], str]]]:
        shares = (0.02, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9)
        full = [(f"batch, room for {share:.0%}", lambda share=share: self.batch(share)) for share in shares]
        pulls = [(f"pull, room for {share:.0%}", lambda share=share: self.pull(share)) for share in shares]
        stores = [(f"masklets, room for {size} KiB", lambda size=size: self.masklets(size)) for size in (64, 200, 400)]
        others = [("batch, read-only", self.batch_locked), ("pull, read-only", self.pull_locked)]
        others += [("masklets, read-only", self.masklets_locked), ("server, read-only", self.server_locked)]
        return [*full, *pulls, *stores, *others, ("server, full", self.server_full)]

    def disk(self) -> Disk:
        self.count += 1
        self.disks.append(Disk(self.folder / f"disk-{self.count}"))
        return self.disks[-1]

    def clean(self) -> None:
        while self.disks:
            self.disks.pop().gone()

    def batch(self, share: float) -> str:
        disk = self.disk()
        disk.resize(max(int(self.bytes * share) + (48 << 10), 64 << 10))
        code = self._refused(disk.place / "out")
        disk.resize(ROOMY)
        return self._continued(disk, code, {"batch.disk_full"})

    def batch_locked(self) -> str:
        disk = self.disk()
        batch_kill.run_killed(self.pictures, disk.place / "out", 2.0)
        disk.lock()
        code = self._refused(disk.place / "out")
        disk.resize(ROOMY)
        return self._continued(disk, code, {"batch.not_writable"})

    def _refused(self, out: Path) -> str:
        done = subprocess.run(batch_kill.command(self.pictures, out), capture_output=True, text=True, check=False)
        assert done.returncode in {1, 3}, (done.returncode, done.stderr)
        assert "Traceback" not in done.stderr, done.stderr
        return str(json.loads(done.stdout).get("error", {}).get("code", "it had room enough"))

    def _continued(self, disk: Disk, code: str, codes: set[str]) -> str:
        assert code in {*codes, "it had room enough"}, code
        assert batch_kill.run(self.pictures, disk.place / "out")["complete"]
        assert batch_kill.tree(disk.place / "out") == self.wanted, "another result afterwards"
        return code

    def pull(self, share: float) -> str:
        disk, content = self.disk(), (MINI / "segformer" / "model.safetensors").read_bytes()
        disk.resize(int(len(content) * share) + (64 << 10))
        return self._pulled(disk, content, "download.disk_full", lambda: disk.resize(ROOMY))

    def pull_locked(self) -> str:
        disk = self.disk()
        disk.lock()
        return self._pulled(disk, b"x" * 1000, "download.not_writable", lambda: disk.resize(ROOMY))

    def _pulled(self, disk: Disk, content: bytes, code: str, room: Callable[[], None]) -> str:
        with HubServer(repository({"model.safetensors": content})) as hub:
            store, row = Store(disk.place / "cache", Hub(hub.url)), make_row()
            said = _code(lambda: store.pull(row))
            assert said == code, said
            room()
            assert (store.pull(row) / "model.safetensors").read_bytes() == content
            assert store.verify(row).is_sound
        return said

    def masklets(self, kib: int) -> str:
        disk, done = self.disk(), 0
        disk.resize(kib << 10)
        path, said = disk.place / "masklets.sqlite3", "it had room enough"
        with MaskletStore(self.folder / f"model-{self.count}.sqlite3") as model:
            try:
                with MaskletStore(path) as store:
                    for done in range(CALLS):
                        masklet_kill.apply(store, done, 1)
            except StoreFailed as error:
                said = error.code
            for call in range(done if said != "it had room enough" else CALLS):
                masklet_kill.apply(model, call, 1)
            disk.resize(ROOMY)
            with MaskletStore(path) as store:
                assert masklet_kill.contents(store) == masklet_kill.contents(model), "not what the acknowledged calls leave"
                masklet_kill.apply(store, CALLS, 1)
        assert said in {"store.disk_full", "store.disk", "it had room enough"}, said
        return said

    def masklets_locked(self) -> str:
        disk = self.disk()
        path = disk.place / "masklets.sqlite3"
        with MaskletStore(path) as store:
            masklet_kill.apply(store, 0, 1)
        disk.lock()

        def write() -> None:
            with MaskletStore(path) as locked:
                masklet_kill.apply(locked, 1, 1)

        said = _code(write)
        assert said.startswith("store."), said
        return said

    def server_locked(self) -> str:
        disk = self.disk()
        disk.lock()
        return self._served(disk)

    def server_full(self) -> str:
        disk = self.disk()
        (disk.place / "ballast").write_bytes(bytes(ROOMY - (64 << 10)))
        with (disk.place / "rest").open("wb", 0) as file:
            _fill(file)
        return self._served(disk)

    def _served(self, disk: Disk) -> str:
        """Masks for clicks need no disk."""
        folder = self.folder / f"served-{self.count}"
        folder.mkdir()
        places = {"LOCARA_CACHE_DIR": str(disk.place / "cache"), "LOCARA_DATA_DIR": str(disk.place / "data")}
        with granted(folder, 2, "--prelabel-model", "segformer-mini", **places) as server:
            answers = [
                server.post("/v1/mask_from_prompt", {**click(folder, 0)}),
                server.post("/v1/segment", {"image": str(folder / "0.png")}),
            ]
            assert [status for status, _ in answers] == [200, 200], answers
        assert "Traceback" not in server.said(), server.said()
        return "answers"


def _fill(file: object) -> None:
    try:
        while True:
            file.write(bytes(4096))  # type: ignore[attr-defined]
    except OSError:
        return


def _code(work: Callable[[], object]) -> str:
    try:
        work()
    except LocaraError as error:
        return error.code
    return "nothing was refused"


def run(numbers: range) -> Summary:
    summary = Summary()
    with tempfile.TemporaryDirectory(prefix="disks-") as made:
        cases = Cases(Path(made))
        for name, ask in cases.all()[numbers.start : numbers.stop]:
            summary.judge(name, ask, MAX_SECONDS, time.monotonic)
            cases.clean()
    return summary


def part(numbers: range) -> Summary:
    """The cases of some numbers, in a place of their own where this system allows that."""
    line = [*UNSHARE, sys.executable, "-m", "tests.faults.disks", str(numbers.start), str(numbers.stop)]
    done = subprocess.run(line, stdout=subprocess.PIPE, check=True, env={**os.environ})
    return Summary.from_json(json.loads(done.stdout))


if __name__ == "__main__":
    print(json.dumps(run(range(int(sys.argv[1]), int(sys.argv[2]))).to_json()))
