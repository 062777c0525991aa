"""Which execution provider runs a model. Asked for CUDA and got the CPU is an error, unless `auto` was asked: then a warning."""

from __future__ import annotations

import importlib.metadata
import logging
import os
from typing import Any, Literal

from locara_label.errors import BadOption, DeviceUnavailable, MissingRuntime

Device = Literal["auto", "cpu", "cuda"]
DEVICES: tuple[Device, ...] = ("auto", "cpu", "cuda")
CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
OLDEST = (1, 24, 4)
DISTRIBUTIONS = ("onnxruntime", "onnxruntime-gpu")

log = logging.getLogger(__name__)


def onnxruntime() -> Any:
    """The `onnxruntime` module, imported at first use.

    Its builds for Linux and Windows report their use to their makers and leave an identifier in the user's cache, unless this
    variable is set when they are imported. Nothing leaves the machine here, so it is; who wants it sets it to 0. Where another
    package has imported it before, its reports end here.

    Raises:
        MissingRuntime: not installed, broken, or older than 1.24.4.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime as ort
    except ImportError as error:
        raise MissingRuntime(
            f"ONNX Runtime cannot be imported ({error}); install locara-label[cpu] or locara-label[gpu]"
        ) from error
    if not hasattr(ort, "InferenceSession"):
        raise MissingRuntime("ONNX Runtime is installed in pieces; uninstall onnxruntime and onnxruntime-gpu, then install one")
    if tuple(int(part) for part in ort.__version__.split(".")[:3]) < OLDEST:
        raise MissingRuntime(f"ONNX Runtime {ort.__version__} is too old, 1.24.4 or newer is needed")
    if os.environ["ORT_DISABLE_TELEMETRY"] != "0":
        ort.disable_telemetry_events()
    return ort


def installed_distributions() -> dict[str, str]:
    """Name and version of every installed ONNX Runtime distribution; two of them overwrite each other's files."""
    found = {}
    for name in DISTRIBUTIONS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def choose(device: str) -> tuple[str, ...]:
    """The providers to ask for, in order.

    Raises:
        BadOption: no such device.
        DeviceUnavailable: `cuda` was asked for and this installation has none.
    """
    if device not in DEVICES:
        raise BadOption(f"device is one of {', '.join(DEVICES)}, got {device!r}", code="option.device")
    available = onnxruntime().get_available_providers()
    if device == "cpu" or (device == "auto" and CUDA not in available):
        return (CPU,)
    if CUDA not in available:
        raise DeviceUnavailable("cuda was asked for, but this ONNX Runtime has no CUDA provider; install locara-label[gpu]")
    return CUDA, CPU


def confirm(device: str, asked: tuple[str, ...], got: list[str]) -> None:
    """Compares what a session really uses with what was asked for: a session falls back to the CPU without an error of its own.

    Raises:
        DeviceUnavailable: `cuda` was asked for and the session runs on the CPU.
    """
    if asked[0] == CPU or (got and got[0] == asked[0]):
        return
    if device == "cuda":
        raise DeviceUnavailable("cuda was asked for, but the CUDA provider could not start; see the log of ONNX Runtime")
    log.warning("the CUDA provider could not start: running on the CPU")
