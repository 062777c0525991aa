from __future__ import annotations

from locara_label.engine.video_recipe import Recorded
from locara_label.types import Box, Point, Prompt


def edited(session: Recorded, scale: float = 1) -> None:
    """Prompts, corrections, a lock and runs, one of them broken off, on 24 frames of 96 x 128 pixels, or so many times larger."""

    def point(x: float, y: float, *, positive: bool = True) -> Point:
        return Point(x * scale, y * scale, positive=positive)

    session.prompt(5, 1, Prompt(box=Box(20 * scale, 20 * scale, 70 * scale, 70 * scale)))
    session.prompt(5, 2, Prompt((point(90, 50),)))
    list(session.propagate("both"))
    session.prompt(12, 1, Prompt((point(50, 50), point(5, 5, positive=False))))
    session.prompt(14, 3, Prompt(mask=session.tracks[2].found[14].mask))
    session.lock(15, 2)
    steps = session.propagate()
    for _ in range(4):
        next(steps)
    steps.close()
    list(session.propagate("backward", stride=2))
