"""Pictures and videos that tasks refer to, as far as an export needs them."""

from __future__ import annotations

import tempfile
from typing import BinaryIO, cast

from locara_label import images
from locara_label.errors import FetchFailed, LocaraError
from locara_label.fetch import Fetcher
from locara_label.hosts.label_studio.export_pictures import Measure
from locara_label.hosts.label_studio.export_tasks import AnnotatedTask
from locara_label.hosts.label_studio.export_videos import OpenVideo
from locara_label.images import Limits
from locara_label.rle import Size
from locara_label.video.limits import DEFAULT_LIMITS, VideoLimits
from locara_label.video.opening import check_runtime, open_video_file
from locara_label.video.video import Video


def measured(fetcher: Fetcher, limits: Limits) -> Measure:
    """Reads pictures to tell their size, upright.

    What it makes raises `BadImage`, `NotAllowed` or `FetchFailed`.
    """

    def measure(url: str, task: AnnotatedTask) -> Size:
        content = fetcher.read(url, max_bytes=limits.max_bytes, task_id=task.id, project_id=task.project)
        header = images.probe(content, limits)
        return header.height, header.width

    return measure


def opened(fetcher: Fetcher, limits: VideoLimits = DEFAULT_LIMITS) -> OpenVideo:
    """Fetches videos into files without a name, which are gone with them.

    Args:
        fetcher: its rules say how large a video may be, and how long it may take.
        limits: what decoding may cost.

    What it makes raises `BadVideo`, `MissingRuntime`, `NotAllowed` or `FetchFailed`.
    """

    def open_video(url: str, task: AnnotatedTask) -> Video:
        check_runtime()
        try:
            with tempfile.NamedTemporaryFile(prefix="locara-video-") as file:
                fetcher.save(url, cast("BinaryIO", file), task_id=task.id, project_id=task.project)
                file.flush()
                return open_video_file(file.name, limits)
        except LocaraError:  # some of them are OSErrors too
            raise
        except OSError as error:
            reason = error.strerror or str(error)
            raise FetchFailed(f"the video cannot be kept in {tempfile.gettempdir()}: {reason}") from error

    return open_video
