"""A model for `apply_model` on videos: objects that labels of some frames show, on all frames."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fiftyone as fo
import fiftyone.core.media as fomm
import fiftyone.core.models as fom

from locara_label.engine.loading import load_video_model
from locara_label.engine.tracking import MAX_FRAMES, Direction, Session
from locara_label.errors import BadOption
from locara_label.hosts.fiftyone.factory import Plain
from locara_label.hosts.fiftyone.following import Following, Run, shown_by_frame
from locara_label.hosts.fiftyone.samples import check_field
from locara_label.settings import Settings
from locara_label.video.opening import open_video_file


class VideoModel(fom.SamplesMixin, Plain):  # type: ignore[misc]
    """Follows objects; `apply_model` names the frame field that shows them as `prompt_field`.

    `apply_model` saves a video when all of its frames are done, and opens every file with FFmpeg's programs, which have to be
    installed; `propagate.propagate` saves frame by frame and needs neither.
    """

    media_type = fomm.VIDEO

    def __init__(
        self,
        name: str,
        *,
        prompt_field: str | None = None,
        direction: Direction = "both",
        max_frames: int | None = MAX_FRAMES,
        stride: int = 1,
        weights: str | Path | None = None,
        device: str | None = None,
        settings: Settings | None = None,
    ) -> None:
        """See `propagate.propagate` for the arguments and what is raised."""
        fom.SamplesMixin.__init__(self)
        Plain.__init__(self)
        self.prompt_field, self._run = prompt_field, Run(direction, max_frames, stride)
        self.model = load_video_model(name, weights, device, settings=settings)

    def predict(self, arg: Any, sample: Any = None) -> dict[int, fo.Detections]:  # noqa: ARG002 - we read the file ourselves
        """Detections by frame number, from 1, of a video sample; see `propagate.propagate`.

        Raises:
            BadOption: no field shows objects.
            BadVideo, BadPrompt, BadMask, InferenceFailed: the video or what shows its objects is wrong.
        """
        asked = self.needs_fields.get("prompt_field") or self.prompt_field
        if sample is None or asked is None:
            raise BadOption("a video model needs prompt_field, a frame field with boxes or masks", code="option.prompt_field")
        with Session(open_video_file(sample.filepath), self.model) as session:
            field = check_field(asked, fomm.VIDEO)
            shown = shown_by_frame(sample, field, session.video.size, only_keyframes=False)
            following = Following(session, shown)
            frames = {*following.ask(), *following.run(self._run)}
            return {frame: fo.Detections(detections=following.detections(frame)) for frame in sorted(frames)}
