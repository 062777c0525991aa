"""A prompt model for boxes, and pictures' worth of phrases that the echo text model finds."""

from __future__ import annotations

import numpy as np

from locara_label.types import Candidate, Mask, Prompt
from tests.engine.echo_model import EchoModel

HERE, THERE = "at 3 4 10 12", "at 20 4 30 12"
HERE_XYWH, THERE_XYWH = (3, 4, 7, 8), (20, 4, 10, 8)


class BoxModel(EchoModel):
    """The mask of a box is the box; clicks are answered as the echo model does."""

    def _candidate(self, plane: np.ndarray, prompt: Prompt) -> Candidate:
        if prompt.box is None:
            return super()._candidate(plane, prompt)
        found = np.zeros(plane.shape, bool)
        found[int(prompt.box.y0) : int(prompt.box.y1), int(prompt.box.x0) : int(prompt.box.x1)] = True
        return Candidate(Mask.from_array(found), 0.5)
