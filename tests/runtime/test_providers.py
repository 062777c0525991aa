from __future__ import annotations

import logging
import os
import subprocess
import sys
from types import ModuleType

import pytest

from locara_label.errors import BadOption, DeviceUnavailable, MissingRuntime
from locara_label.runtime import providers
from locara_label.runtime.providers import CPU, CUDA


def _runtime(monkeypatch: pytest.MonkeyPatch, *available: str, version: str = "1.24.4") -> ModuleType:
    module = ModuleType("onnxruntime")
    module.__version__ = version
    module.InferenceSession = object
    module.get_available_providers = lambda: list(available)
    module.silenced = []
    module.disable_telemetry_events = lambda: module.silenced.append(True)
    monkeypatch.setitem(sys.modules, "onnxruntime", module)
    return module


@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_the_cpu_where_there_is_no_cuda(monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    _runtime(monkeypatch, CPU)
    assert providers.choose(device) == (CPU,)


@pytest.mark.parametrize(("device", "asked"), [("auto", (CUDA, CPU)), ("cuda", (CUDA, CPU)), ("cpu", (CPU,))])
def test_cuda_where_there_is_one(monkeypatch: pytest.MonkeyPatch, device: str, asked: tuple[str, ...]) -> None:
    _runtime(monkeypatch, CUDA, CPU)
    assert providers.choose(device) == asked


def test_cuda_is_asked_for_and_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    _runtime(monkeypatch, CPU)
    with pytest.raises(DeviceUnavailable, match=r"locara-label\[gpu\]"):
        providers.choose("cuda")


@pytest.mark.parametrize("device", ["gpu", "", "CUDA", "cuda:0"])
def test_no_such_device(device: str) -> None:
    with pytest.raises(BadOption, match="device is one of") as raised:
        providers.choose(device)
    assert raised.value.code == "option.device"


def test_a_session_fell_back(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        providers.confirm("auto", (CUDA, CPU), [CPU])
    assert "running on the CPU" in caplog.text
    with pytest.raises(DeviceUnavailable):
        providers.confirm("cuda", (CUDA, CPU), [CPU])
    with pytest.raises(DeviceUnavailable):
        providers.confirm("cuda", (CUDA, CPU), [])


def test_a_session_got_what_was_asked(caplog: pytest.LogCaptureFixture) -> None:
    providers.confirm("cpu", (CPU,), [CPU])
    providers.confirm("cuda", (CUDA, CPU), [CUDA, CPU])
    assert not caplog.records


def test_no_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingRuntime, match=r"locara-label\[cpu\]"):
        providers.onnxruntime()


def test_a_runtime_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", ModuleType("onnxruntime"))
    with pytest.raises(MissingRuntime, match="in pieces"):
        providers.onnxruntime()


@pytest.mark.parametrize("version", ["1.24.3", "1.9.0", "0.99.99"])
def test_a_runtime_that_is_too_old(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    _runtime(monkeypatch, CPU, version=version)
    with pytest.raises(MissingRuntime, match="too old"):
        providers.onnxruntime()


@pytest.mark.parametrize("version", ["1.24.4", "1.25.0", "2.0.0", "1.26.0.dev20260101"])
def test_a_runtime_that_is_new_enough(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    module = _runtime(monkeypatch, CPU, version=version)
    assert providers.onnxruntime() is module


def test_installed_distributions() -> None:
    assert set(providers.installed_distributions()) <= set(providers.DISTRIBUTIONS)


@pytest.mark.parametrize(("wanted", "silenced"), [(None, True), ("1", True), ("0", False)])
def test_reports_end_where_another_package_imported_it_first(
    monkeypatch: pytest.MonkeyPatch, wanted: str | None, silenced: bool
) -> None:
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    if wanted is not None:
        monkeypatch.setenv("ORT_DISABLE_TELEMETRY", wanted)
    module = _runtime(monkeypatch, CPU)
    providers.onnxruntime()
    assert bool(module.silenced) is silenced


WATCH_THE_HOME = """
import os, pathlib, sys
import locara_label
model = locara_label.load("mini")
found = [str(path) for path in pathlib.Path(os.environ["HOME"]).rglob("*") if path.is_file()]
assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"
assert not found, found
"""


def test_onnxruntime_reports_to_nobody_and_leaves_no_identifier(tmp_path) -> None:
    """Left alone it writes `.cache/Microsoft/DeveloperTools/.onnxruntime/deviceid` and looks up its makers' host."""
    environment = {name: value for name, value in os.environ.items() if name not in {"ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME"}}
    environment |= {"HOME": str(tmp_path / "home"), "LOCARA_CACHE_DIR": str(tmp_path / "cache")}
    (tmp_path / "home").mkdir()
    command = [sys.executable, "-c", WATCH_THE_HOME]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
