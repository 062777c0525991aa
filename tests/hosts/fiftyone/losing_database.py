"""Labels pictures while its database goes away and comes back; says what it sees. Not a test."""

from __future__ import annotations

import sys

import fiftyone as fo

from locara_label.errors import LocaraError
from locara_label.hosts.fiftyone.prelabel import prelabel
from locara_label.hosts.fiftyone.progress import summed


def main(pictures: list[str]) -> None:
    dataset = fo.Dataset("losing", persistent=True)
    dataset.add_samples([fo.Sample(filepath=path) for path in pictures])
    steps = prelabel(dataset, "mini", "pred")
    step = next(steps)
    print(f"saved {step.done}", flush=True)
    sys.stdin.readline()
    try:
        next(steps)
        print("nothing was noticed", flush=True)
    except LocaraError as error:
        print(type(error).__name__, error.code, flush=True)
    sys.stdin.readline()
    print("labeled", sum(label is not None for label in dataset.values("pred")), flush=True)
    print("continued", summed(prelabel(dataset, "mini", "pred", only_new=True)).samples, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
