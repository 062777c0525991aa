"""Published video files, made here from random weights, against our own graphs on the same weights."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tests.required import needed

torch = needed("torch")

from fixtures.scenes import EVALUATION_SEED, make_clip  # noqa: E402
from locara_label.engine import loading, sources  # noqa: E402
from locara_label.engine.tracking import Session  # noqa: E402
from locara_label.errors import BadPrompt, BadWeights, NotDownloaded  # noqa: E402
from locara_label.images import write_png  # noqa: E402
from locara_label.models import sam2_video  # noqa: E402
from locara_label.models.sam2_video import Sam2Video  # noqa: E402
from locara_label.models.sam2_video_published import PublishedSam2Video, filled  # noqa: E402
from locara_label.models.video_memory import (  # noqa: E402
    BACKWARD,
    FORWARD,
    Asked,
    Bank,
    Course,
    Memory,
    Reach,
    Recall,
    Rules,
    Sighting,
    recall,
)
from locara_label.runtime import skeleton  # noqa: E402
from locara_label.settings import Settings  # noqa: E402
from locara_label.types import Box, Mask, Point, Prompt  # noqa: E402
from locara_label.video.opening import open_video_file  # noqa: E402
from tests.parity.sam2_video_published_files import halve, write  # noqa: E402
from tests.parity.sam2_video_reference import randomised  # noqa: E402

pytestmark = [pytest.mark.parity, pytest.mark.slow, pytest.mark.timeout(1200)]
SIDE, MEMORIES, FRAMES = 256, 7, 24
ROW = "sam2.1-hiera-tiny-video-onnx"
RULES = Rules(conditioning=4)
"""Of ours, as far as the published files have room."""


@dataclass(frozen=True)
class Made:
    """The same weights twice: ours, and files in the published interface."""

    ours: Sam2Video
    files: Path
    frames: list[np.ndarray]
    settings: Settings

    def published(self, files: Path | None = None, row: str = ROW) -> PublishedSam2Video:
        model = loading.load_video_model(row, files or self.files, "cpu", settings=self.settings)
        assert isinstance(model, PublishedSam2Video)
        return model


Making = Callable[[float], Made]


@pytest.fixture(scope="module")
def making(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Making]:
    """Makes both for a bias of the score that tells whether an object is in sight."""
    from tools import architectures, build_graphs
    from tools.train_sam2_video_mini import make_config

    folder = tmp_path_factory.mktemp("published-video")
    config = make_config()
    config.multimask_output_for_tracking = True  # as published
    config.save_pretrained(folder / "mini" / "sam2")
    frames = [frame.image for frame in make_clip(EVALUATION_SEED + 3, FRAMES, (SIDE, SIDE)).frames]

    def make(presence: float) -> Made:
        here = folder / f"{presence}"
        torch.manual_seed(0)
        model = randomised(config, here / "weights", 1, presence)
        settings = Settings(cache_dir=here / "cache", threads=2)
        ours = loading.load_video_model("sam2-mini", here / "weights", "cpu", settings=settings, rules=RULES)
        assert isinstance(ours, Sam2Video)
        return Made(ours, write(model, here / "files", MEMORIES), frames, settings)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(architectures, "MINI", folder / "mini")
        for part in architectures.SAM2_PARTS:
            (folder / f"sam2-mini-{part}.zip").write_bytes(build_graphs.build(f"sam2-mini-{part}"))
        patch.setattr(sources, "open_skeleton", lambda name: _opened(folder / f"{name}.zip"))
        yield make


@pytest.fixture(scope="module")
def made(making: Making) -> Made:
    return making(0.1)


def _opened(path: Path) -> skeleton.Skeleton:
    with zipfile.ZipFile(path) as archive:
        return skeleton._parse(path.stem, archive.read("graph.onnx"), json.loads(archive.read("tensors.json")))


@pytest.fixture
def same_bank(monkeypatch: pytest.MonkeyPatch, made: Made) -> None:
    """Ours attends to what the published files have room for."""
    layout = made.published().layout

    def padded(bank: Bank, frame: int, course: Course, reach: Reach, rules: Rules) -> Recall:
        return filled(recall(bank, frame, course, reach, rules), bank, frame, course, layout)

    monkeypatch.setattr(sam2_video, "recall", padded)


Models = tuple[Sam2Video | PublishedSam2Video, Sam2Video | PublishedSam2Video]


class Both:
    """Two models that are asked the same; `ious` of their masks, of each object on each frame, and whether it is in sight."""

    def __init__(self, models: Models, frames: Sequence[np.ndarray]) -> None:
        self.models, self.frames = models, frames
        self.banks: dict[int, tuple[Bank, Bank]] = {}
        self.ious: list[float] = []
        self.present: list[bool] = []

    def step(self, frame: int, prompts: dict[int, Prompt] | None = None, direction: int = FORWARD) -> None:
        given = prompts or {}
        for number in given:
            self.banks.setdefault(number, (self.models[0].bank(), self.models[1].bank()))
        course = Course(direction, len(self.frames))
        found = []
        for at, model in enumerate(self.models):
            embedding = model.encode(self.frames[frame])
            asked = [Asked(banks[at], given.get(number)) for number, banks in self.banks.items()]
            found.append(model.step(embedding, frame, asked, course))
        for one, other in zip(*found, strict=True):
            mine, theirs = one.mask((SIDE, SIDE)), other.mask((SIDE, SIDE))
            self.ious.append(mine.iou(theirs) if mine.area or theirs.area else 1.0)
            self.present.append(one.present)
            assert abs(one.score - other.score) < 0.02


def _run(both: Both, frames: int) -> None:
    """Three objects, a late one, a correction, all later frames again, and backward."""
    click, box = Point(80, 80), Box(30, 40, 120, 160)
    several = (Point(200, 180), Point(190, 170), Point(20, 20, positive=False))
    both.step(0, {1: Prompt((click,)), 2: Prompt(box=box), 3: Prompt(several)})
    middle = frames // 2
    for frame in range(1, middle):
        both.step(frame)
    both.step(middle, {4: Prompt((Point(150, 90),))})
    for frame in range(middle + 1, frames):
        both.step(frame)
    both.step(middle + 2, {2: Prompt((click, Point(60, 40, positive=False)))})
    for frame in range(middle + 3, frames):
        both.step(frame)
    for frame in range(frames - 1, middle, -1):
        both.step(frame, direction=BACKWARD)


def test_the_same_masks_as_ours_on_the_same_bank(made: Made, same_bank: None) -> None:
    both = Both((made.published(), made.ours), made.frames)
    _run(both, FRAMES)
    assert min(both.ious) >= 0.999
    assert all(both.present)


def test_the_same_where_objects_are_mostly_out_of_sight(making: Making, same_bank: None) -> None:
    made = making(-0.05)
    both = Both((made.published(), made.ours), made.frames)
    _run(both, 10)
    assert min(both.ious) >= 0.999
    assert 0 < sum(both.present) < len(both.present) / 2


def test_half_precision(made: Made, same_bank: None, tmp_path: Path) -> None:
    both = Both((made.published(halve(made.files, tmp_path / "half"), f"{ROW}-fp16"), made.ours), made.frames)
    _run(both, 8)
    assert min(both.ious) >= 0.99


def test_a_full_bank_needs_no_padding(made: Made) -> None:
    """Once as many frames are known as the files have room for, they see what ours sees."""
    ours, published = made.ours, made.published()
    mine, theirs, course = ours.bank(), published.bank(), Course(FORWARD, FRAMES)
    for frame in range(FRAMES - 1):
        prompt = None if frame else Prompt(box=Box(30, 40, 120, 160))
        ours.step(ours.encode(made.frames[frame]), frame, [Asked(mine, prompt)], course)
    for at, seen in mine.prompted.items():
        theirs.prompted[at] = Sighting(seen.logits, seen.score, seen.presence, _tokens(seen.memory))
    theirs.features = {at: _rows(features) for at, features in mine.features.items()}
    theirs.pointers, theirs.tracked = dict(mine.pointers), set(mine.tracked)
    last = FRAMES - 1
    known = recall(theirs, last, course, published.reach, published.rules)
    assert (len(known.memories), len(known.pointers)) == (MEMORIES, 16)
    (one,) = published.step(published.encode(made.frames[last]), last, [Asked(theirs)], course)
    (other,) = ours.step(ours.encode(made.frames[last]), last, [Asked(mine)], course)
    assert one.mask((SIDE, SIDE)).iou(other.mask((SIDE, SIDE))) >= 0.999
    assert np.abs(one.pointer - other.pointer).max() < 1e-3


def _rows(features: np.ndarray) -> np.ndarray:
    return features.reshape(len(features), -1).T


def _tokens(memory: Memory) -> Memory:
    return Memory(_rows(memory.features), memory.pointer)


def test_a_mask_is_its_own_answer_and_is_remembered(made: Made) -> None:
    model, course = made.published(), Course(FORWARD, FRAMES)
    y, x = np.mgrid[:SIDE, :SIDE]
    drawn = Mask.from_array((x - 150) ** 2 + (y - 90) ** 2 < 1600)
    bank, ours = model.bank(), made.ours.bank()
    (seen,) = model.step(model.encode(made.frames[0]), 0, [Asked(bank, Prompt(mask=drawn))], course)
    (wanted,) = made.ours.step(made.ours.encode(made.frames[0]), 0, [Asked(ours, Prompt(mask=drawn))], course)
    assert seen.mask((SIDE, SIDE)).iou(wanted.mask((SIDE, SIDE))) > 0.99
    assert (seen.score, seen.present) == (1.0, True)
    assert np.abs(seen.memory.features - _rows(wanted.memory.features)).max() < 0.05
    (next_one,) = model.step(model.encode(made.frames[1]), 1, [Asked(bank)], course)
    assert next_one.pointer.shape == seen.pointer.shape


@pytest.mark.parametrize(
    ("prompt", "code"),
    [
        (Prompt((Point(9, 9),), mask=Mask.from_array(np.ones((SIDE, SIDE), bool))), "prompt.no_refinement"),
        (Prompt((Point(9, 9),), logits=np.zeros((64, 64), np.float32)), "prompt.no_refinement"),
        (Prompt(logits=np.zeros((64, 64), np.float32)), "prompt.no_refinement"),
        (Prompt(mask=Mask.from_array(np.zeros((SIDE, SIDE), bool))), "prompt.empty_mask"),
        (Prompt(mask=Mask.from_array(np.ones((9, 9), bool))), "prompt.mask"),
    ],
)
def test_what_the_files_cannot_do_is_told(made: Made, prompt: Prompt, code: str) -> None:
    model = made.published()
    bank = model.bank()
    with pytest.raises(BadPrompt) as error:
        model.step(model.encode(made.frames[0]), 0, [Asked(bank, prompt)], Course(FORWARD, FRAMES))
    assert error.value.code == code
    assert bank.prompted == {}


def test_a_session_corrects_and_locks_and_asks_from_behind(made: Made, tmp_path: Path) -> None:
    for number, frame in enumerate(made.frames[:6]):
        write_png(tmp_path / f"{number}.png", frame)
    with Session(open_video_file(tmp_path), made.published()) as session:
        session.prompt(3, 1, Prompt(box=Box(30, 40, 120, 160)))
        assert len(list(session.propagate("both"))) == 5
        session.prompt(4, 1, Prompt((Point(80, 80),)))
        if session.tracks[1].found[4].present:
            session.lock(4, 1)
        assert [step.frame for step in session.propagate()] == [5]
        embedding, bank = session.model.encode(made.frames[0]), session.tracks[1].bank
        session.model.step(embedding, 0, [Asked(bank)], Course(FORWARD, 6))  # all prompts lie ahead


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda constants: constants.pop("memory_temporal_positional_encoding"), "weights.config"),
        (lambda constants: constants.update(memory_temporal_positional_encoding=[[1, 2]]), "weights.config"),
        (lambda constants: constants.update(memory_temporal_positional_encoding=[[1], [2, 3]]), "weights.config"),
        (lambda constants: constants.update(image_size=512), "weights.input_size"),
        (lambda constants: constants.update(image_std=[0, 1, 1]), "weights.processor"),
    ],
)
def test_constants_that_do_not_fit(made: Made, tmp_path: Path, change: Callable[[dict[str, object]], object], code: str) -> None:
    folder = _copy(made.files, tmp_path / "files")
    constants = json.loads((folder / "constants.json").read_text())
    change(constants)
    (folder / "constants.json").write_text(json.dumps(constants))
    with pytest.raises(BadWeights) as error:
        made.published(folder)
    assert error.value.code == code


def test_files_of_something_else_or_fewer(made: Made, tmp_path: Path) -> None:
    folder = _copy(made.files, tmp_path / "files")
    (folder / "onnx" / "memory_encoder.onnx").write_bytes((folder / "onnx" / "mask_decoder.onnx").read_bytes())
    with pytest.raises(BadWeights, match="memory_encoder") as error:
        made.published(folder)
    assert error.value.code == "weights.interface"
    (folder / "onnx" / "memory_encoder.onnx").unlink()
    with pytest.raises(NotDownloaded, match=r"memory_encoder\.onnx"):
        made.published(folder)


def _copy(source: Path, target: Path) -> Path:
    (target / "onnx").mkdir(parents=True)
    for path in (source / "constants.json", *(source / "onnx").iterdir()):
        (target / path.relative_to(source)).write_bytes(path.read_bytes())
    return target
