"""Label Studio's own ML framework as the way in: one class for label-studio-ml 1.0.9 and 2.x.

    label-studio-ml init backend --script plugins/label_studio/model.py:LocaraLabel
    python backend/_wsgi.py --host 127.0.0.1 --port 9090

The settings are those of `locara-label serve`: the environment and `locara.toml`. What the framework listens on and whom it lets
in is its own affair, see the README beside this file.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
from typing import TYPE_CHECKING, Any

from flask import has_request_context, request
from label_studio_ml import model as framework
from label_studio_ml.model import LabelStudioMLBase

import locara_label

if TYPE_CHECKING:
    from locara_label.server.service import Service

log = logging.getLogger("locara_label.plugin")
_lock = threading.Lock()
_services: dict[int, Service] = {}
"""By process: the threads of a service do not survive a fork."""


def service() -> Service:
    """The service of this process, opened when it is first needed.

    Raises:
        LocaraError: a setting is wrong or a model cannot be loaded; the next call tries again.
    """
    with _lock:
        if os.getpid() not in _services:
            _services[os.getpid()] = locara_label.open_service()
        return _services[os.getpid()]


class LocaraLabel(LabelStudioMLBase):  # type: ignore[misc]
    """Answers with the masks, and the model version, that `locara-label serve` would answer with."""

    def setup(self) -> None:
        """2.x calls this for each request and answers /setup with what is set here."""
        self.set("model_version", service().version)

    def predict(self, tasks: list[dict[str, Any]], context: dict[str, Any] | None = None, **_: Any) -> list[Any]:
        """One entry for each task, or one for a click: a prediction, or [] for a task that is left without one.

        Raises:
            LocaraError: nothing was predicted; the message starts with the code.
        """
        body = {**self._asked(), "tasks": tasks, "params": {"context": context}}
        try:
            results: list[Any] = service().predict(body)["results"]
        except locara_label.LocaraError as error:
            log.warning("nothing is predicted: [%s] %s", error.code, error.message, extra={"code": error.code})
            raise locara_label.LocaraError(f"[{error.code}] {error.message}", code=error.code) from error
        return results

    def fit(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Counts an event of Label Studio; nothing is trained. 1.0.9 calls this in a process of its own, where nothing counts."""
        event = kwargs.get("event", args[0] if args else None)
        opened = _services.get(os.getpid())
        if opened is not None:
            opened.webhook({"action": event})
        return {}

    def _asked(self) -> dict[str, Any]:
        """Project and labeling config. 1.0.9 hands over the config of whichever project was set up last, the request its own."""
        if has_request_context():
            body = request.get_json()
            return {"project": body.get("project"), "label_config": body.get("label_config")}
        return {"project": getattr(self, "project_id", None), "label_config": self.label_config}


def _tell_our_version() -> None:
    """1.0.9 answers /setup with INITIAL or the number of its last job, whatever the model says. Label Studio asks again for each
    task whose prediction is of another version than /setup's, so the two have to be one.
    """
    wrapper = getattr(framework, "ModelWrapper", None)
    if wrapper is not None:
        wrapper.model_version = property(lambda _: service().version, lambda _, __: None)


def _start() -> None:
    """Label Studio waits 3 s for /setup, too short to load a model in; so it is there before the framework listens."""
    logging.getLogger("locara_label").setLevel(logging.INFO)  # the framework shows errors only
    _tell_our_version()
    if multiprocessing.parent_process() is None:  # a job of 1.0.9 is a process of its own and needs no model
        service()


_start()
