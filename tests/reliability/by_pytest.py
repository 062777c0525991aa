"""Suites that are files of tests: every test is a case, or as many as it says."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from xml.etree import ElementTree  # noqa: ICN001 - its own name says what it is

from tests.faults.disks import UNSHARE
from tests.hostile.judging import Summary

ROOT = Path(__file__).parents[2]


def run(_: range, *, tests: tuple[str, ...], cases: Mapping[str, int] | None = None) -> Summary:
    """Runs tests in a process of their own.

    Args:
        tests: files, or tests in them.
        cases: of what a test tries more than once, by the name of its function.
    """
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder) / "told.xml"
        line = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={told}", *tests]
        done = subprocess.run(line, cwd=ROOT, stdout=subprocess.PIPE, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)})
        if not told.exists():
            return Summary(violations=[done.stdout.decode()[-500:]])
        return counted(ElementTree.parse(told), cases or {})


def counted(told: ElementTree.ElementTree, cases: Mapping[str, int]) -> Summary:
    summary = Summary()
    for case in told.iter("testcase"):
        name = case.attrib["name"]
        failed = [part for part in case if part.tag in {"failure", "error"}]
        skipped = case.find("skipped") is not None
        if not skipped:
            many = cases.get(name.partition("[")[0], 1)
            summary.took(name, float(case.attrib["time"]))
            summary.count += many - 1
        summary.outcomes["failed" if failed else "skipped" if skipped else "passed"] += 1
        summary.violations += [f"{name}: {part.attrib.get('message', '')[:300]}" for part in failed]
    return summary


def can_mount() -> bool:
    """Whether a process may have mounts that only it sees."""
    line = [*UNSHARE, "sh", "-ec", "mount -t tmpfs none /mnt"]
    return shutil.which("unshare") is not None and subprocess.run(line, capture_output=True, check=False).returncode == 0


urls = partial(run, tests=("tests/hostile/test_urls.py", "tests/hostile/test_server_urls.py", "tests/hostile/test_rebinding.py"))
paths = partial(run, tests=("tests/hostile/test_paths.py",))
browsers = partial(run, tests=("tests/hostile/test_browsers.py", "tests/server/test_browser_files.py"))
secrets = partial(run, tests=("tests/hostile/test_canaries.py", "tests/cli/test_serve.py", "tests/fetch/test_fetcher.py"))
texts = partial(run, tests=("tests/hostile/test_text_prompts.py",))
downloads = partial(
    run,
    tests=("tests/weights/test_processes.py", "tests/weights/test_faults.py"),
    cases={"test_fifty_kills_lose_nothing_that_was_kept": 50},
)
leaving = partial(
    run, tests=("tests/server/test_overload.py", "tests/server/test_load.py", "tests/faults/test_video_kill.py"),
    cases={"test_interleaved_clicks_get_the_masks_and_labels_that_were_asked_for": 600},
)  # fmt: skip
clocks = partial(run, tests=("tests/faults/test_clock.py",))
label_studio = partial(run, tests=("tests/faults/test_label_studio_gone.py",))
