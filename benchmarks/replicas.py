"""Clicks of many users on two replicas behind nginx, one of which is killed in the middle.

    python -m benchmarks.replicas [--clicks 1000] [--users 8]

Two `locara-label serve` that share a folder of embeddings, behind Debian's nginx with the configuration that is deployed
(`plugins/label_studio/nginx.conf.template`). Every user clicks on a picture of their own, one click after the other; after half
of the clicks one replica gets SIGKILL. Every mask is compared with the one that the model gives in this process. `again` counts
requests that nginx sent to a second replica, `sent_again` those that a client had to repeat. JSON goes to stdout; exit status 1
when a mask is wrong or more than 1 % of the clicks were asked again.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from tests.replicas import Clicking, outcome, program, running

MOST_AGAIN = 0.01


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clicks", type=int, default=1000)
    parser.add_argument("--users", type=int, default=8)
    given = parser.parse_args()
    nginx = program()
    if nginx is None:
        raise SystemExit("nginx is not installed: `make nginx` installs it")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clicking = Clicking(folder, given.users)
        with running(nginx, folder) as replicas:
            found = outcome(clicking, replicas, given.clicks, kill_at=given.clicks // 2)
    again = found.again + found.sent_again
    bars = {"wrong": found.wrong == 0, "again": again <= MOST_AGAIN * given.clicks}
    json.dump({**asdict(found), "again_percent": 100 * again / given.clicks, "bars": bars}, sys.stdout, indent=1)
    return 0 if all(bars.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
