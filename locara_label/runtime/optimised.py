"""Optimised sessions on disk: ONNX Runtime's own rewriting of a graph is done once for each graph, weights, provider and version.

An entry is a folder that appears whole or not at all. Entries that were not used for longest go first when the cache is full.
"""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from locara_label.runtime import providers

MODEL, WEIGHTS = "model.onnx", "model.data"
UNFINISHED = ".new-"
ABANDONED_S = 3600
"""Age of a folder that is still unfinished because its process died."""


@dataclass(frozen=True)
class Cache:
    """A folder of optimised sessions, at most `max_bytes` large."""

    root: Path
    max_bytes: int = 8 << 30

    def find(self, identity: str, asked: tuple[str, ...]) -> Path | None:
        """The optimised model of an entry, or nothing."""
        model = self._folder(identity, asked) / MODEL
        if not model.is_file():
            return None
        with suppress(OSError):  # a read-only cache is a good cache; only its order of eviction is lost
            os.utime(model.parent)
        return model

    def drop(self, identity: str, asked: tuple[str, ...]) -> None:
        shutil.rmtree(self._folder(identity, asked), ignore_errors=True)

    def begin(self, identity: str, asked: tuple[str, ...], settings: Any) -> Slot | None:
        """Tells a session about to be made to write its optimised form; nothing where the folder cannot be written."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=self.root))
        except OSError:
            return None
        settings.optimized_model_filepath = str(folder / MODEL)
        settings.add_session_config_entry("session.optimized_model_external_initializers_file_name", WEIGHTS)
        settings.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "1024")
        return Slot(self, folder, self._folder(identity, asked))

    def trim(self) -> None:
        """Removes what dead processes began, then what was not used for longest until the cache fits its size."""
        folders = [path for path in self.root.iterdir() if path.is_dir()]
        for path in folders:
            if path.name.startswith(UNFINISHED) and time.time() - path.stat().st_mtime > ABANDONED_S:
                shutil.rmtree(path, ignore_errors=True)
        entries = sorted((p for p in folders if not p.name.startswith(UNFINISHED)), key=lambda path: path.stat().st_mtime)
        sizes = {path: sum(file.stat().st_size for file in path.iterdir()) for path in entries}
        excess = sum(sizes.values()) - self.max_bytes
        for path in entries:
            if excess <= 0:
                return
            shutil.rmtree(path, ignore_errors=True)
            excess -= sizes[path]

    def _folder(self, identity: str, asked: tuple[str, ...]) -> Path:
        # Optimised graphs use the memory layouts of this processor, so it is part of the key.
        key = "\n".join((identity, *asked, str(providers.onnxruntime().__version__), platform.machine(), _processor()))
        return self.root / sha256(key.encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Slot:
    """An entry that is being written."""

    cache: Cache
    folder: Path
    target: Path

    def finish(self) -> None:
        """Puts the entry in place if it was written whole; another process may have been first."""
        with suppress(OSError):  # a full disk costs the cache entry, not the session
            if (self.folder / MODEL).is_file() and not self.target.exists():
                self.folder.rename(self.target)
                self.cache.trim()
        self.discard()

    def discard(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return platform.processor()
    return "\n".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))
