"""`locara-label doctor`: what is installed, what works, what is wrong and what to do about it."""

from __future__ import annotations

import importlib
import importlib.metadata
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from locara_label import __version__
from locara_label.cli.output import EXIT_FAILED, EXIT_OK, emit, json_option
from locara_label.errors import LocaraError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from locara_label.settings import Settings

OLDEST_PYTHON = (3, 11)
LITTLE_SPACE = 2 << 30
OPENCV = ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless")
LIBRARIES = {"numpy": "numpy", "opencv": "cv2", "pillow": "PIL", "pycocotools": "pycocotools.mask"}
_REINSTALL = "install locara-label again in a fresh environment"
_MARKS = {"ok": "ok      ", "warning": "WARNING ", "problem": "PROBLEM "}


@dataclass(frozen=True)
class Check:
    """One finding; `remedy` says what to do and is empty only where nothing needs doing."""

    name: str
    status: Literal["ok", "warning", "problem"]
    text: str
    remedy: str = ""


@click.command()
@json_option
def doctor(*, as_json: bool) -> int:
    """Say what is installed, what works and what is wrong. Exits with 1 if there is a problem, with 0 otherwise.

    The shipped mini models are run on a generated picture. Nothing is downloaded.
    """
    checks = run_checks()
    problems = sum(check.status == "problem" for check in checks)
    warnings = sum(check.status == "warning" for check in checks)
    lines = [*map(_line, checks), f"{problems} problems, {warnings} warnings"]
    emit({"ok": not problems, "checks": [asdict(check) for check in checks]}, lines, as_json=as_json)
    return EXIT_FAILED if problems else EXIT_OK


def run_checks() -> list[Check]:
    """Everything that can be checked without a network; never raises."""
    checks = [
        *_guarded("python", _python),
        *_guarded("locara-label", _package),
        *_guarded("onnxruntime", _runtime),
        *_guarded("onnxruntime builds", _runtime_builds),
    ]
    for name in LIBRARIES:
        checks += _guarded(name, partial(_library, name))
    checks += _guarded("opencv builds", _opencv_builds)
    checks += _guarded("graphs", _graphs)
    checks += _guarded("fiftyone", _fiftyone)
    return [*checks, *_guarded("settings", _by_settings)]


def _guarded(name: str, check: Callable[[], Iterator[Check]]) -> list[Check]:
    """What a check found until it was done or failed."""
    found: list[Check] = []
    try:
        found.extend(check())
    except LocaraError as error:
        found.append(Check(name, "problem", f"[{error.code}] {error.message}", "do as the message says"))
    except Exception as error:  # noqa: BLE001 - whatever is broken here is the finding
        found.append(Check(name, "problem", f"{type(error).__name__}: {error}", _REINSTALL))
    return found


def _line(check: Check) -> str:
    line = f"{_MARKS[check.status]}{check.name}: {check.text}"
    return f"{line}\n        -> {check.remedy}" if check.remedy else line


def _python() -> Iterator[Check]:
    text = f"{platform.python_version()}, {sys.executable}"
    if sys.version_info[:2] >= OLDEST_PYTHON:
        yield Check("python", "ok", text)
    else:
        yield Check("python", "problem", f"{text} is too old", "install Python 3.11 or newer")


def _package() -> Iterator[Check]:
    try:
        installed = importlib.metadata.version("locara-label")
    except importlib.metadata.PackageNotFoundError:
        remedy = "run `pip install -e .` in the source folder to get the `locara-label` command"
        yield Check("locara-label", "warning", f"{__version__}, from a source folder, not installed", remedy)
        return
    if installed == __version__:
        yield Check("locara-label", "ok", __version__)
    else:
        text = f"the code says {__version__}, the installation {installed}"
        yield Check("locara-label", "warning", text, "install locara-label again")


def _runtime() -> Iterator[Check]:
    from locara_label.runtime import providers

    ort = providers.onnxruntime()
    available = ort.get_available_providers()
    yield Check("onnxruntime", "ok", f"{ort.__version__}, providers {', '.join(available)}")
    if providers.CUDA in available:
        yield Check("cuda", "ok", "ONNX Runtime has the CUDA provider")
    elif shutil.which("nvidia-smi"):
        remedy = "uninstall onnxruntime and install locara-label[gpu] to use the GPU"
        yield Check("cuda", "warning", "there is an NVIDIA driver, but ONNX Runtime has no CUDA provider", remedy)
    else:
        yield Check("cuda", "ok", "ONNX Runtime has no CUDA provider; models run on the CPU")


def _runtime_builds() -> Iterator[Check]:
    from locara_label.runtime.providers import installed_distributions

    yield _only_one("onnxruntime builds", [f"{name} {version}" for name, version in installed_distributions().items()])


def _library(name: str) -> Iterator[Check]:
    module = LIBRARIES[name]
    importlib.import_module(module)
    version = getattr(importlib.import_module(module.split(".")[0]), "__version__", None)
    yield Check(name, "ok", version or importlib.metadata.version(name))


def _opencv_builds() -> Iterator[Check]:
    yield _only_one("opencv builds", [f"{name} {version}" for name in OPENCV if (version := _version(name))])


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _only_one(name: str, builds: Sequence[str]) -> Check:
    """Builds of one library share a folder, and the last one installed or removed breaks the others."""
    if len(builds) < 2:
        return Check(name, "ok", builds[0] if builds else "installed by other means than pip")
    names = " ".join(build.split()[0] for build in builds)
    remedy = f"run `pip uninstall {names}`, then install the one that you want"
    return Check(name, "problem", f"{' and '.join(builds)} overwrite each other's files", remedy)


def _graphs() -> Iterator[Check]:
    from locara_label.runtime.skeleton import open_skeleton
    from locara_label.weights import catalogue

    names = {name for row in catalogue.rows() for name in row.graphs}
    broken = []
    for name in sorted(names):
        try:
            open_skeleton(name)
        except Exception as error:  # noqa: BLE001 - a damaged archive fails in many ways
            broken.append(f"{name} ({error})")
    if broken:
        yield Check("graphs", "problem", f"missing or damaged: {', '.join(broken)}", _REINSTALL)
    else:
        yield Check("graphs", "ok", f"all {len(names)} are there")


def _fiftyone() -> Iterator[Check]:
    from locara_label.hosts.fiftyone.install import findings

    yield from (Check(one.name, one.status, one.text, one.remedy) for one in findings())


def _by_settings() -> Iterator[Check]:
    from locara_label.settings import load

    settings = load()
    yield from _guarded("cache", partial(_cache, settings.cache_dir))
    yield _offline(settings)
    for task in ("panoptic", "semantic"):
        yield from _guarded(f"mini {task} model", partial(_mini, task, settings))


def _cache(folder: Path) -> Iterator[Check]:
    there = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            free = shutil.disk_usage(there).free
    except OSError as error:
        remedy = "make it writable, or set LOCARA_CACHE_DIR to a folder that is"
        yield Check("cache", "problem", f"{folder} is not writable: {error.strerror or error}", remedy)
        return
    text = f"{folder} is writable, {free / 1e9:.1f} GB free"
    if free < LITTLE_SPACE:
        yield Check("cache", "warning", text, "make room, or set LOCARA_CACHE_DIR to a folder on a larger disk")
    else:
        yield Check("cache", "ok", text)


def _offline(settings: Settings) -> Check:
    if settings.offline:
        remedy = "unset LOCARA_OFFLINE and HF_HUB_OFFLINE to pull models"
        return Check("offline", "warning", "the switch is on: nothing is downloaded", remedy)
    return Check("offline", "ok", f"the switch is off: models come from {settings.endpoint}")


def _mini(task: str, settings: Settings) -> Iterator[Check]:
    from locara_label.engine.loading import load

    model = load("mini", task=task, settings=settings)
    image = _picture()
    found = model.segment(image)
    name = f"mini {task} model"
    if found and all(instance.mask.size == image.shape[:2] for instance in found):
        yield Check(name, "ok", f"{model.name} finds {len(found)} regions in a generated picture, on {model.provider}")
    else:
        yield Check(name, "problem", f"{model.name} finds nothing in a generated picture", _REINSTALL)


def _picture() -> NDArray[np.uint8]:
    """RGB uint8 [192, 256, 3]: sky over grass with a red square."""
    import numpy as np

    picture = np.empty((192, 256, 3), np.uint8)
    picture[:110], picture[110:] = (120, 170, 220), (80, 140, 60)
    picture[70:140, 90:160] = (200, 40, 40)
    return picture
