"""What is found while nobody waits, written to Label Studio: one prediction of ours for each task, which grows."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from locara_label.errors import LocaraError
from locara_label.hosts.label_studio.client import LabelStudio, Prediction
from locara_label.hosts.label_studio.results import OWN_WORDS, Region
from locara_label.server.core import Core
from locara_label.server.video_jobs import Job, Key

log = logging.getLogger("locara_label.server")

EVERY_S = 15.0
"""Label Studio needs an eighth of a second to store a prediction, and annotators do not look more often."""

Found = Callable[[Key], tuple[list[Region], float]]


class Predictions:
    """Writes predictions through Label Studio's API, where the settings name it."""

    def __init__(self, core: Core, found: Found) -> None:
        """`found` gives the regions of a video, and which share of them is done."""
        self._core, self._found = core, found
        self._written_s: dict[Key, float] = {}
        self._untrue: set[Key] = set()
        """Videos whose predictions tell of something that is not the end of it."""

    def told(self, job: Job, *, done: bool) -> None:
        """A run goes on, or is done: time for a prediction, if nobody waits for the answer, or if the last one is not true."""
        if not has_api(self._core) or not (job.unattended or (done and job.key in self._untrue)):
            return
        now = time.monotonic()
        if not done and now - self._written_s.setdefault(job.key, now) < EVERY_S:
            return
        self._written_s[job.key] = now
        if done:
            self._written_s.pop(job.key, None)
        self._untrue.add(job.key)
        try:
            self._write(job.key)
        except LocaraError as error:
            self._core.metrics.errors.labels(error.code).inc()
            text = "the prediction of task %s is not written: [%s] %s"
            log.warning(text, job.key.task, error.code, error.message, extra={"code": error.code})

    def _write(self, key: Key) -> None:
        server = self._core.settings.server
        if server.label_studio_url is None or server.api_key is None:
            raise AssertionError("only called where there is an API")
        regions, score = self._found(key)
        with LabelStudio(server.label_studio_url, server.api_key.get_secret_value()) as client:
            ours = [one for one in client.predictions(key.task) if _is_ours(one, key.to_name)]
            if ours and regions:
                client.update_prediction(ours[0].id, regions, score, self._core.version)
            elif regions:
                client.create_prediction(key.task, regions, score, self._core.version)
            for other in ours[bool(regions) :]:
                client.delete_prediction(other.id)
        if all(_is_done(region) for region in regions):
            self._untrue.discard(key)


def has_api(core: Core) -> bool:
    """The settings name a Label Studio, and a token for it."""
    return core.settings.server.label_studio_url is not None and core.settings.server.api_key is not None


def _is_done(region: Region) -> bool:
    return bool(region.get("meta", {}).get("masklet", {}).get("state") == "done")


def _is_ours(prediction: Prediction, to_name: str) -> bool:
    """Whether it shows masklets of a video, or says why there are none."""
    regions = [region for region in prediction.result if region.get("to_name") == to_name]
    followed = any(isinstance(meta := region.get("meta"), dict) and "masklet" in meta for region in regions)
    return followed or (bool(regions) and all(_is_message(region) for region in regions))


def _is_message(region: Mapping[str, Any]) -> bool:
    value = region.get("value")
    texts = value.get("text") if region.get("type") == "textarea" and isinstance(value, dict) else None
    return isinstance(texts, list) and any(isinstance(text, str) and text.startswith(OWN_WORDS) for text in texts)
