"""Words to masklets on generated clips, by the models that ship with the package: the mini Grounding DINO and optical flow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.tracking import as_video
from fixtures.scenes import EVALUATION_SEED, Clip, make_clip
from locara_label import open_video
from locara_label.datasets.masklets import visible
from locara_label.datasets.video_scores import evaluate
from locara_label.engine.loading import load_text_model
from locara_label.engine.tracking import Session
from locara_label.images import write_png
from locara_label.models.base import TextModel
from locara_label.types import Mask

pytestmark = pytest.mark.slow
SIZE = (192, 192)


@pytest.fixture(scope="module")
def texts() -> TextModel:
    return load_text_model("mini")


@contextmanager
def opened(seed: int, frames: Sequence[int], texts: TextModel, folder: Path) -> Iterator[tuple[Clip, Session]]:
    clip = make_clip(EVALUATION_SEED + seed, frames, SIZE)
    for number, frame in enumerate(clip.frames):
        write_png(folder / f"{number:03}.png", frame.image)
    with open_video(folder, text_model=texts) as session:
        yield clip, session


def true_masks(clip: Clip, phrase: str) -> list[Mask | None]:
    """Of the one object of a phrase."""
    seen = [[item for item in frame.objects if item.phrase == phrase] for frame in clip.frames]
    assert len({item.identity for items in seen for item in items}) == 1
    return [Mask.from_array(items[0].mask) if items else None for items in seen]


def j_and_f(clip: Clip, session: Session, number: int, phrase: str, first: int = 0) -> float:
    """Of an object from a frame on."""
    found = session.tracks[number].found
    mine = [None if at < first else visible(found[at].mask) for at in range(len(clip.frames))]
    true = [None if at < first else mask for at, mask in enumerate(true_masks(clip, phrase))]
    skip = tuple(range(first))
    return evaluate(as_video({1: mine}, clip), as_video({1: true}, clip), skip=skip).mean.j_and_f


def test_a_text_finds_its_objects_and_they_are_followed(texts: TextModel, tmp_path: Path) -> None:
    phrases = ["blue cross", "yellow circle"]
    with opened(1, range(16), texts, tmp_path) as (clip, session):
        found = session.prompt(0, text=[*phrases, "red star"])
        assert sorted(session.tracks[number].label for number in found) == phrases
        for number, one in found.items():
            assert one.mask.iou(true_masks(clip, session.tracks[number].label)[0]) > 0.8
        list(session.propagate(redetect=5))
        assert len(session.tracks) == 2
        assert min(j_and_f(clip, session, number, track.label) for number, track in session.tracks.items()) > 0.9


def test_an_object_that_appears_later_is_found_by_asking_again(texts: TextModel, tmp_path: Path) -> None:
    with opened(26, range(22, 52, 2), texts, tmp_path) as (clip, session):
        appears = next(at for at, mask in enumerate(true_masks(clip, "red square")) if mask is not None and mask.area > 500)
        assert appears > 3
        assert not [one for one in session.prompt(0, text="red square").values() if one.mask.area > 500]
        list(session.propagate(redetect=3))
        numbers = [number for number, track in session.tracks.items() if min(track.prompts) >= appears - 2]
        assert len(session.tracks) == len(numbers) == 1
        begun = min(session.tracks[numbers[0]].prompts)
        assert begun <= appears + 3
        assert j_and_f(clip, session, numbers[0], "red square", begun) > 0.7


def test_an_object_that_is_back_keeps_its_number(texts: TextModel, tmp_path: Path) -> None:
    with opened(13, range(0, 60, 4), texts, tmp_path) as (clip, session):
        (number,) = session.prompt(0, text="red circle")
        list(session.propagate(redetect=2))
        assert list(session.tracks) == [number]
        true, found = true_masks(clip, "red circle"), session.tracks[number].found
        gone = [at for at, mask in enumerate(true) if mask is None]
        assert gone
        assert not any(found[at].present for at in gone)
        assert true[-1].iou(found[len(true) - 1].mask) > 0.8
