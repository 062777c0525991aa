"""Runs the tests of this folder in an environment with FiftyOne, where this one has none."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hosts.fiftyone import real_fiftyone
from tests.required import missing

HERE = Path(__file__).parent


@pytest.mark.slow
@pytest.mark.timeout(2800)
@pytest.mark.skipif(real_fiftyone.INSIDE, reason="FiftyOne is here: its tests are collected")
def test_with_a_real_fiftyone() -> None:
    interpreter = real_fiftyone.python()
    if interpreter is None:
        missing("FiftyOne is not installed: `make fiftyone` installs it, or LOCARA_FIFTYONE names the Python of its environment")
    ran = real_fiftyone.run_inside(interpreter, str(HERE))
    assert ran.returncode == 0, f"{ran.stdout[-12000:]}\n{ran.stderr[-3000:]}"
    assert " passed" in ran.stdout
