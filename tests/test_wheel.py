"""What ships: the built wheel, away from the checkout, does the main job."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_the_wheel_does_the_main_job(tmp_path: Path) -> None:
    _run("-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT), cwd=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.stat().st_size < 16 << 20
    site = tmp_path / "site"
    _run("-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site), str(wheel), cwd=tmp_path)
    done = _run(
        "-m", "locara_label", "prelabel", str(ROOT / "fixtures" / "pictures"), "--out", "out", "--json", cwd=tmp_path, site=site
    )
    assert json.loads(done)["failed"] == 0
    where = _run("-c", "import locara_label; print(locara_label.__file__)", cwd=tmp_path, site=site)
    assert where.startswith(str(site))
    assert json.loads((tmp_path / "out" / "coco.json").read_text())["annotations"]


def _run(*words: str, cwd: Path, site: Path | None = None) -> str:
    environment = {**os.environ, "LOCARA_CACHE_DIR": str(cwd / "cache"), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    if site is not None:
        environment["PYTHONPATH"] = str(site)
    done = subprocess.run([sys.executable, *words], cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
