"""How long a process takes until it can work: import, `--help`, and the load of a SegFormer-B0.

    python -m benchmarks.start [--times 7]

Every figure is the least of several processes, which take turns. JSON goes to stdout, a table to stderr; exit status 1 when
one misses its bar.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.parity import reference

ROOT = Path(__file__).resolve().parents[1]
ROW = "segformer-b0-finetuned-ade-512-512"
LOAD = """
import sys, time
start = time.perf_counter()
import locara_label
locara_label.load(sys.argv[1], sys.argv[2], "cpu")
print(1000 * (time.perf_counter() - start))
"""
BARS_MS = {"import": 150.0, "help": 400.0, "load_first": 1000.0, "load_cached": 1000.0}


def ran(line: list[str], cache: Path) -> str:
    environment = {**os.environ, "LOCARA_CACHE_DIR": str(cache)}
    return subprocess.run([sys.executable, *line], check=True, capture_output=True, text=True, cwd=ROOT, env=environment).stdout


def process_ms(*line: str) -> float:
    start = time.perf_counter()
    ran(list(line), ROOT / "no-cache")
    return 1000 * (time.perf_counter() - start)


def load_ms(weights: Path, cache: Path) -> float:
    """From before `import locara_label` to a model that can run, told by the process itself."""
    return float(ran(["-c", LOAD, ROW, str(weights)], cache))


def works(folder: Path) -> dict[str, Callable[[], float]]:
    """What is timed: milliseconds by name."""
    made = reference.make(folder / "weights", "segformer-b0", labels=150, size_px=512, seed=0)
    load_ms(made.folder, folder / "cache")
    return {
        "python": lambda: process_ms("-c", "pass"),
        "python_import": lambda: process_ms("-c", "import locara_label"),
        "help": lambda: process_ms("-m", "locara_label", "--help"),
        "load_first": lambda: load_ms(made.folder, Path(tempfile.mkdtemp(dir=folder))),
        "load_cached": lambda: load_ms(made.folder, folder / "cache"),
    }


def least(times: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="start-") as folder:
        timed = works(Path(folder))
        rounds = [{name: work() for name, work in timed.items()} for _ in range(times)]
    found = {name: min(took[name] for took in rounds) for name in timed}
    found["import"] = found["python_import"] - found["python"]
    return {"times": times, "min_ms": {name: round(value, 1) for name, value in found.items()}, "bars_ms": BARS_MS}


def table(found: dict[str, Any]) -> str:
    rows = (f"| {name} | {found['min_ms'][name]:.0f} | {bar:.0f} |" for name, bar in BARS_MS.items())
    return "\n".join(["| start | ms | bar |", "|---|---|---|", *rows])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=7)
    found = least(parser.parse_args().times)
    print(json.dumps(found, indent=2))
    print(table(found), file=sys.stderr)
    return int(any(found["min_ms"][name] > bar for name, bar in BARS_MS.items()))


if __name__ == "__main__":
    sys.exit(main())
