"""A model without weights: the dark and the bright part of a picture. Deterministic, quick, and able to misbehave."""

from __future__ import annotations

import time

import cv2
import numpy as np

from locara_label.errors import Cancelled, InferenceFailed
from locara_label.types import Instance, Label, Mask

LABELS = (Label(0, "dark", is_stuff=True), Label(1, "bright", is_stuff=True), Label(2, "spot"))
POISON, WRONG, CRASH = 1, 2, 3
"""Value of the first pixel of a picture that makes the model fail, break its contract, or raise what it must not."""


class Shades:
    name, provider = "shades", "CPUExecutionProvider"

    def __init__(self, labels=LABELS, delay_s=0.0, before=lambda number: None):
        self.labels, self.delay_s, self.before = labels, delay_s, before
        self.calls = 0

    def segment(self, image, threshold=None, limit=None):
        self.calls += 1
        self.before(self.calls)
        time.sleep(self.delay_s)
        if limit.stop.is_set:
            raise Cancelled("stopped")
        self._misbehave(int(image[0, 0, 0]), image)
        bright = image[:, :, 0] > 127
        spot = np.zeros(bright.shape, bool)
        spot[2:5, 3:7] = True
        parts = [(0, ~bright, 0.25), (1, bright, 0.5 + 1 / 3), (2, spot, 0.9)]
        return [self._instance(*part) for part in parts if part[1].any() and part[2] >= (threshold or 0)]

    def _misbehave(self, mark, image):
        if mark == POISON:
            raise InferenceFailed("poisoned", code="run.not_finite")
        if mark == CRASH:
            raise ZeroDivisionError("a bug")

    def _instance(self, index, inside, score):
        mask = Mask.from_array(inside)
        label = self.labels[index]
        return Instance(label.name, index, score, mask, label.is_stuff)


class Wrong(Shades):
    def segment(self, image, threshold=None, limit=None):
        found = super().segment(image, threshold, limit)
        if image[0, 0, 0] == WRONG:
            return [Instance("dark", 0, 0.5, Mask.from_array(np.ones((1, 1), bool)))]
        return found


def write_pictures(folder, count, size=(12, 16), marks=None):
    """PNGs p000.png, p001.png ... with a bright half; `marks` sets first pixels by number."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        image = np.full((*size, 3), 20, np.uint8)
        image[:, (number % (size[1] - 1)) + 1 :] = 200
        image[0, 0] = (marks or {}).get(number, 20)
        cv2.imwrite(str(folder / f"p{number:03d}.png"), image)
    return folder
