"""Frames of a video for somebody who may give up: a decoder that has begun can only be left alone, not interrupted."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait

from locara_label.models.base import NO_LIMIT, Clock, Image
from locara_label.video.video import Video

_LOOK_S = 0.05
"""How long a frame is waited for before it is looked again whether anybody still wants it."""


class FrameReader:
    """Reads frames in a thread beside, which begins with the first frame."""

    def __init__(self, video: Video) -> None:
        """The reader does not close the video."""
        self._video = video
        self._beside: ThreadPoolExecutor | None = None

    def frame(self, number: int, clock: Clock) -> Image:
        """RGB uint8 [H, W, 3], the caller's own.

        Raises:
            Cancelled, DeadlineExceeded: see `Clock.check`; the decoder goes on to the end of the frame, and nobody waits for it.
            BadOption, BadVideo: see `Video.frame`.
        """
        if clock.left == NO_LIMIT:
            return self._video.frame(number)
        if self._beside is None:
            self._beside = ThreadPoolExecutor(1, "frames")
        reading = self._beside.submit(self._video.frame, number)
        try:
            while not wait([reading], _LOOK_S).done:
                clock.check()
        except BaseException:
            reading.cancel()
            raise
        return reading.result()

    def close(self) -> None:
        """Ends the thread once its frame is there, without waiting for that; before the video is closed."""
        if self._beside is not None:
            self._beside.shutdown(wait=False, cancel_futures=True)
