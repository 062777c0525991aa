"""A path or an address to an open video."""

from __future__ import annotations

import re
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, cast

from locara_label import settings as environment
from locara_label.engine.granted import rules as granted_rules
from locara_label.errors import BadVideo, FetchError, FetchFailed
from locara_label.fetch import Fetcher, Rules
from locara_label.video.limits import DEFAULT_LIMITS, VideoLimits
from locara_label.video.opening import check_runtime, open_video_file
from locara_label.video.video import Video

FETCH_S = 600.0
"""For all of a video, where the rules are those of the settings, which are for pictures."""
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def is_address(reference: Path | str) -> bool:
    """Whether it is for the fetcher, and no path."""
    return isinstance(reference, str) and _ADDRESS.match(reference) is not None


def open_reference(reference: Path | str, limits: VideoLimits = DEFAULT_LIMITS, rules: Rules | None = None) -> Video:
    """Opens a path, or fetches an address into a private file and opens that.

    The file has no name any more when this returns: it is gone with the video, whatever becomes of this process.

    Args:
        reference: as in `open_video_file`, or an address with its scheme.
        limits: what the video may cost; also of what is fetched.
        rules: what may be fetched, of what size and for how long; None takes the grants of the settings, `limits.max_bytes`
            and `FETCH_S`.

    Raises:
        BadVideo, MissingRuntime: see `open_video_file`.
        FetchError: see `Fetcher.save`; a video that is too large is BadVideo with code video.too_large, too.
    """
    if not is_address(reference):
        return open_video_file(reference, limits)
    check_runtime()
    allowed = rules or replace(granted_rules(environment.load()), max_bytes=limits.max_bytes, total_s=FETCH_S)
    with tempfile.NamedTemporaryFile(prefix="locara-video-") as file:
        _save(str(reference), cast("BinaryIO", file), min(limits.max_bytes, allowed.max_bytes), allowed)
        return open_video_file(file.name, limits)


def _save(reference: str, file: BinaryIO, max_bytes: int, rules: Rules) -> None:
    try:
        Fetcher(rules).save(reference, file, max_bytes=max_bytes)
        file.flush()
    except FetchError as error:  # before OSError, which some of them are
        if error.code == "fetch.too_large":
            raise BadVideo(error.message, code="video.too_large") from error
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise FetchFailed(f"the video cannot be kept in {tempfile.gettempdir()}: {reason}", code="fetch.failed") from error
