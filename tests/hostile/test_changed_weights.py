"""Some of the changed weights on each run; `python -m tests.reliability run weights` has all."""

from __future__ import annotations

from pathlib import Path

import pytest

from locara_label.errors import InferenceFailed
from locara_label.runtime.session import Options, open_session
from tests.hostile import weights


def test_every_region_of_every_format_is_changed(tmp_path: Path) -> None:
    named = {sound.path: set(sound.regions) for sound in [*weights.safetensors(), *weights.torch(tmp_path), *weights.onnx()]}
    assert named["model.safetensors"] == {"length", "header", "names", "offsets", "data"}
    assert named["pytorch_model.bin"] == {"zip entry", "description", "data", "directory", "end"}
    assert named["linear.onnx"] == {"header", "graph", "data", "after"}
    for sound in [*weights.safetensors(), *weights.torch(tmp_path), *weights.onnx()]:
        for region in sound.regions.values():
            assert 0 <= region[0] < region[1] <= len(sound.content)
            assert weights.changed(weights.random.Random(1), sound.content, region) != sound.content


def test_a_refused_model_says_nothing_on_standard_output(capfd: pytest.CaptureFixture[str]) -> None:
    """ONNX Runtime does, where it tries again; `--json` has to stay JSON."""
    sound = weights.onnx()[0].content
    at = sound.index(b"MatMul")
    with pytest.raises(InferenceFailed) as refused:
        open_session(sound[:at] + b"\xfeatMul" + sound[at + 6 :], Options(threads=1))
    assert refused.value.code == "run.load"
    assert capfd.readouterr().out == ""
