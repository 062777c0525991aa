"""A real name server that rebinds, behind the system's own resolver."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hostile.rebinding import PRIVATE, ROUNDS, UNSHARE

ROOT = Path(__file__).parents[2]


def can_unshare() -> bool:
    tool = shutil.which("unshare")
    return tool is not None and subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode == 0


@pytest.mark.slow
@pytest.mark.skipif(not can_unshare(), reason="needs a network of its own, which this system does not allow")
def test_a_name_that_changes_its_address_leads_nowhere_private() -> None:
    line = [*UNSHARE, sys.executable, "-m", "tests.hostile.rebinding"]
    done = subprocess.run(line, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    found = json.loads(done.stdout)
    tries = len(PRIVATE) * 2 * ROUNDS
    assert (found["private"], found["canary"]) == ([], 0)
    assert found["lookups"] >= 2 * tries
    assert sum(found["codes"].values()) == 2 * tries
    assert found["codes"]["asked: fetch.private_address"] >= tries / 2
    assert found["codes"]["asked: fetch.unreachable"] > 0  # the public answers were taken, and lead nowhere from here
    assert set(found["codes"]) <= {f"{how}: fetch.{code}" for how in ("asked", "redirected") for code in
                                   ("private_address", "unreachable", "not_allowed")}  # fmt: skip
