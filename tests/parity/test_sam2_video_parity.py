"""Tracking against transformers: the same random weights, the same session, frame by frame."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.required import needed

torch = needed("torch")

from fixtures.scenes import EVALUATION_SEED, make_clip  # noqa: E402
from locara_label.engine import loading, sources  # noqa: E402
from locara_label.models.sam2_video import Sam2Video  # noqa: E402
from locara_label.models.video_memory import BACKWARD, FORWARD, REFERENCE, Asked, Bank, Course  # noqa: E402
from locara_label.runtime import skeleton  # noqa: E402
from locara_label.settings import Settings  # noqa: E402
from locara_label.types import Box, Embedding, Mask, Point, Prompt  # noqa: E402
from tests.parity.sam2_video_reference import Sam2VideoReference, randomised  # noqa: E402

pytestmark = [pytest.mark.parity, pytest.mark.slow]
FRAMES = 40
SMALL = 256
FULL = pytest.mark.skipif("LOCARA_FULL_SIZE" not in os.environ, reason="LOCARA_FULL_SIZE is no number of frames: 40 take an hour")


class Both:
    """Ours and theirs, step by step, and how far apart they were."""

    def __init__(self, model: Sam2Video, reference: Sam2VideoReference) -> None:
        self.model, self.reference = model, reference
        self.banks: dict[int, Bank] = {}
        self.embeddings: dict[int, Embedding] = {}
        self.ious: list[float] = []
        self.present: list[bool] = []

    def step(self, frame: int, prompts: dict[int, Prompt] | None = None, direction: int = FORWARD) -> None:
        given = prompts or {}
        wanted = self.reference.step(frame, given, reverse=direction == BACKWARD)
        for number in given:
            self.banks.setdefault(number, self.model.bank())
        if frame not in self.embeddings:
            self.embeddings = {frame: self.model.encode(self.reference.frames[frame])}
        asked = [Asked(self.banks[number], given.get(number)) for number in wanted]
        course = Course(direction, len(self.reference.frames))
        found = self.model.step(self.embeddings[frame], frame, asked, course)
        for one, (logits, presence) in zip(found, wanted.values(), strict=True):
            assert abs(one.presence - presence) < 1e-2
            mine, theirs = one.logits > 0, logits > 0
            either = np.count_nonzero(mine | theirs)
            self.ious.append(np.count_nonzero(mine & theirs) / either if either else 1.0)
            self.present.append(one.present)


def _graphs(config: Any, name: str, folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Builds the five graphs of an architecture, which are found instead of shipped ones."""
    from tools import architectures, build_graphs

    def architecture(part: str) -> architectures.Architecture:
        build = partial(architectures.Sam2VideoModel, config)
        return architectures._sam2(build, config.image_size, config.vision_config.fpn_hidden_size, part)

    for part in architectures.SAM2_PARTS:
        patch.setitem(architectures.ARCHITECTURES, f"{name}-{part}", partial(architecture, part))
        (folder / f"{name}-{part}.zip").write_bytes(build_graphs.build(f"{name}-{part}"))
    patch.setattr(sources, "open_skeleton", lambda graph: _opened(folder / f"{graph}.zip"))


@pytest.fixture(scope="module")
def nano_config(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """The mini's own picture part with a fresh memory."""
    from tools.train_sam2_video_mini import make_config

    config = make_config()
    config.multimask_output_for_tracking = True  # as published
    with pytest.MonkeyPatch.context() as patch:
        _graphs(config, "sam2-mini", tmp_path_factory.mktemp("nano"), patch)
        yield config


def _opened(path: Path) -> skeleton.Skeleton:
    with zipfile.ZipFile(path) as archive:
        return skeleton._parse(path.stem, archive.read("graph.onnx"), json.loads(archive.read("tensors.json")))


def _both(name: str, config: object, folder: Path, frames: int, presence: float) -> Both:
    model = randomised(config, folder / "weights", 1, presence)
    side = model.image_size
    pictures = [frame.image for frame in make_clip(EVALUATION_SEED + 3, frames, (side, side)).frames]
    settings = Settings(cache_dir=folder / "cache", threads=2)
    mine = loading.load_video_model(name, folder / "weights", "cpu", settings=settings, rules=REFERENCE)
    assert isinstance(mine, Sam2Video)
    return Both(mine, Sam2VideoReference(folder / "weights", model, pictures))


def _run(both: Both, frames: int) -> None:
    """Three objects, a late one by its mask, a correction, all frames again, and backward."""
    side = both.model.side
    scale = side / 256
    click, box = Point(80 * scale, 80 * scale), Box(30 * scale, 40 * scale, 120 * scale, 160 * scale)
    several = (Point(200 * scale, 180 * scale), Point(190 * scale, 170 * scale), Point(20 * scale, 20 * scale, positive=False))
    both.step(0, {1: Prompt((click,)), 2: Prompt(box=box), 3: Prompt(several)})
    middle = frames // 2
    for frame in range(middle):
        both.step(frame)
    y, x = np.mgrid[0:side, 0:side] / scale
    both.step(middle, {4: Prompt(mask=Mask.from_array((x - 150) ** 2 + (y - 90) ** 2 < 1600))})
    for frame in range(middle, frames):
        both.step(frame)
    corrected = middle + 2
    both.step(corrected, {2: Prompt((click, Point(60 * scale, 40 * scale, positive=False)))})
    for frame in range(corrected, frames):
        both.step(frame)
    for frame in range(frames - 1, -1, -1):
        both.step(frame, direction=BACKWARD)


@pytest.mark.parametrize("presence", [0.3, -0.02])
def test_a_session_equals_the_reference(nano_config: object, tmp_path: Path, presence: float) -> None:
    both = _both("sam2-mini", nano_config, tmp_path, FRAMES, presence)
    _run(both, FRAMES)
    assert min(both.ious) >= 0.999
    assert any(both.present)


def _published(variant: str) -> Any:
    from tools import architectures

    return architectures.ARCHITECTURES[f"sam2.1-hiera-{variant}-encoder"]().build(0).config


@pytest.mark.parametrize("variant", ["tiny", "small"])
def test_a_session_of_a_published_architecture_equals_the_reference(
    variant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every layer as published, on smaller frames; those of the full size take an hour."""
    config = _published(variant)
    config.image_size = config.prompt_encoder_config.image_size = SMALL
    config.vision_config.backbone_config.image_size = [SMALL, SMALL]
    config.vision_config.backbone_feature_sizes = [[SMALL // stride] * 2 for stride in (4, 8, 16)]
    config.memory_attention_rope_feat_sizes = [SMALL // 16] * 2
    _graphs(config, f"sam2.1-hiera-{variant}", tmp_path, monkeypatch)
    both = _both(f"sam2.1-hiera-{variant}", config, tmp_path, FRAMES, 0.3)
    _run(both, FRAMES)
    assert min(both.ious) >= 0.999
    assert any(both.present)


@pytest.mark.timeout(14400)
@FULL
@pytest.mark.parametrize("variant", ["tiny", "small"])
def test_a_session_of_a_published_size_equals_the_reference(variant: str, tmp_path: Path) -> None:
    frames = int(os.environ["LOCARA_FULL_SIZE"])
    both = _both(f"sam2.1-hiera-{variant}", _published(variant), tmp_path, frames, 0.3)
    _run(both, frames)
    assert min(both.ious) >= 0.999
