"""The `locara-label` command. Exit codes: 0 done, 1 failed, 2 wrong usage, 3 done in part (some inputs failed)."""

from __future__ import annotations

import sys


def main() -> None:
    from locara_label.cli.app import run

    sys.exit(run())
