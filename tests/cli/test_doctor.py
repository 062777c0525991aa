import json
from importlib import metadata
from types import SimpleNamespace

import pytest

from locara_label.cli import doctor as command
from locara_label.cli.app import run
from locara_label.errors import MissingRuntime
from locara_label.runtime import providers, skeleton


@pytest.fixture(autouse=True)
def clean(tmp_path, monkeypatch):
    monkeypatch.setenv("LOCARA_CACHE_DIR", str(tmp_path / "not" / "yet" / "there"))
    for name in ("LOCARA_OFFLINE", "HF_HUB_OFFLINE", "LOCARA_DEVICE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def doctor(capsys):
    def call():
        code = run(["doctor", "--json"])
        result = json.loads(capsys.readouterr().out)
        assert result["ok"] == (code == 0)
        return code, {check["name"]: SimpleNamespace(**check) for check in result["checks"]}

    return call


@pytest.fixture
def versions(monkeypatch):
    """Pretends that distributions are installed."""
    real = metadata.version

    def install(**known):
        pretended = {name.replace("_", "-"): version for name, version in known.items()}
        monkeypatch.setattr(metadata, "version", lambda name: pretended.get(name) or real(name))

    return install


def test_a_healthy_machine(doctor, versions):
    versions(locara_label="0.1.0")
    code, checks = doctor()
    assert code == 0
    assert [name for name, check in checks.items() if check.status == "problem"] == []
    assert set(checks) == {
        "python", "locara-label", "onnxruntime", "cuda", "onnxruntime builds", "numpy", "opencv", "pillow", "pycocotools",
        "opencv builds", "graphs", "cache", "offline", "mini panoptic model", "mini semantic model",
    }  # fmt: skip
    assert "mask2former-mini finds" in checks["mini panoptic model"].text
    assert "segformer-mini finds" in checks["mini semantic model"].text
    assert checks["locara-label"].status == "ok"
    assert checks["numpy"].text == metadata.version("numpy")
    assert all(check.text for check in checks.values())
    assert all(check.remedy for check in checks.values() if check.status != "ok")


def test_for_people(capsys, monkeypatch):
    monkeypatch.setattr(command, "_mini", lambda task, settings: iter(()))
    monkeypatch.setenv("LOCARA_OFFLINE", "1")
    assert run(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "ok      python: 3." in out
    assert "WARNING offline: the switch is on: nothing is downloaded\n        -> unset LOCARA_OFFLINE" in out
    assert "0 problems, " in out.splitlines()[-1]


def quick(monkeypatch):
    monkeypatch.setattr(command, "_mini", lambda task, settings: iter(()))


def test_two_builds_of_libraries(doctor, versions, monkeypatch):
    quick(monkeypatch)
    versions(onnxruntime="1.30.0", onnxruntime_gpu="1.30.0", opencv_python="4.12.0", opencv_python_headless="4.12.0")
    code, checks = doctor()
    assert code == 1
    assert checks["onnxruntime builds"].status == checks["opencv builds"].status == "problem"
    assert "pip uninstall onnxruntime onnxruntime-gpu" in checks["onnxruntime builds"].remedy
    assert "opencv-python 4.12.0 and opencv-python-headless 4.12.0" in checks["opencv builds"].text


def test_another_version_is_installed(doctor, versions, monkeypatch):
    quick(monkeypatch)
    versions(locara_label="0.0.1")
    assert doctor()[1]["locara-label"].status == "warning"


def test_no_runtime(doctor, monkeypatch):
    def missing():
        raise MissingRuntime("ONNX Runtime cannot be imported; install locara-label[cpu]")

    monkeypatch.setattr(providers, "onnxruntime", missing)
    code, checks = doctor()
    assert code == 1
    assert checks["onnxruntime"].text.startswith("[run.missing_runtime]")
    assert checks["mini panoptic model"].status == checks["mini semantic model"].status == "problem"


@pytest.mark.parametrize(("provider", "driver", "status"), [(True, True, "ok"), (False, True, "warning"), (False, False, "ok")])
def test_cuda(doctor, monkeypatch, provider, driver, status):
    quick(monkeypatch)
    names = [providers.CUDA, providers.CPU] if provider else [providers.CPU]
    runtime = SimpleNamespace(__version__="1.30.0", get_available_providers=lambda: names)
    monkeypatch.setattr(providers, "onnxruntime", lambda: runtime)
    monkeypatch.setattr(command.shutil, "which", lambda name: "/bin/nvidia-smi" if driver else None)
    assert doctor()[1]["cuda"].status == status


def test_a_broken_library(doctor, monkeypatch):
    quick(monkeypatch)
    monkeypatch.setitem(command.LIBRARIES, "pillow", "no_such_module")
    code, checks = doctor()
    assert (code, checks["pillow"].status) == (1, "problem")
    assert "ModuleNotFoundError" in checks["pillow"].text


def test_an_old_python(doctor, monkeypatch):
    quick(monkeypatch)
    monkeypatch.setattr(command, "OLDEST_PYTHON", (4, 0))
    assert doctor()[1]["python"].status == "problem"


def test_a_missing_graph(doctor, monkeypatch):
    quick(monkeypatch)
    real = skeleton.open_skeleton
    monkeypatch.setattr(skeleton, "open_skeleton", lambda name: real("nothing" if name == "segformer-b0" else name))
    code, checks = doctor()
    assert (code, checks["graphs"].status) == (1, "problem")
    assert "segformer-b0 (" in checks["graphs"].text


def test_cache_is_not_a_folder(doctor, tmp_path, monkeypatch):
    quick(monkeypatch)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LOCARA_CACHE_DIR", str(tmp_path / "file" / "cache"))
    code, checks = doctor()
    assert (code, checks["cache"].status) == (1, "problem")
    assert "LOCARA_CACHE_DIR" in checks["cache"].remedy


def test_little_space(doctor, monkeypatch):
    quick(monkeypatch)
    monkeypatch.setattr(command.shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    code, checks = doctor()
    assert (code, checks["cache"].status) == (0, "warning")


def test_a_wrong_setting(doctor, monkeypatch):
    monkeypatch.setenv("LOCARA_THREADS", "many")
    code, checks = doctor()
    assert code == 1
    assert "threads" in checks["settings"].text


def test_a_model_that_finds_nothing(doctor, monkeypatch):
    nothing = SimpleNamespace(name="mini", provider="CPU", segment=lambda image: [])
    monkeypatch.setattr("locara_label.engine.loading.load", lambda *args, **options: nothing)
    code, checks = doctor()
    assert (code, checks["mini panoptic model"].status) == (1, "problem")
