"""`fiftyone delegated launch` in a process of its own, and what became of the operations that it runs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fiftyone.operators.delegated as food

PATIENCE_S = 300.0


@contextmanager
def launched(plugins: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The service, with the plugins of a folder; it is killed at the end."""
    command = [str(Path(sys.executable).with_name("fiftyone")), "delegated", "launch"]
    environment = {**os.environ, "FIFTYONE_PLUGINS_DIR": str(plugins)}
    with log.open("ab") as file:
        service = subprocess.Popen(command, env=environment, stdout=file, stderr=file)
        try:
            yield service
        finally:
            service.kill()
            service.wait(30)


def until(found: Callable[[], bool], log: Path) -> None:
    """Waits; the service's words are shown where it takes too long."""
    give_up = time.monotonic() + PATIENCE_S
    while not found():
        assert time.monotonic() < give_up, log.read_text("utf-8", "replace")[-3000:] if log.exists() else "nothing was run"
        time.sleep(0.1)


def operations(dataset: Any) -> list[Any]:
    """Those of a data set, in the order in which they were queued."""
    found = food.DelegatedOperationService().list_operations(dataset_name=dataset.name)
    return sorted(found, key=lambda one: one.queued_at)


def operation(number: Any) -> Any:
    return food.DelegatedOperationService().get(number)
