import dataclasses

import pytest
from masklet_samples import CUP, sample, square

from locara_label.datasets.masklets import Masklet, MaskletVideo, visible
from locara_label.errors import BadDataset, BadMask
from locara_label.types import Mask

# pycocotools decodes through an array protocol that NumPy 2 calls old.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

HERE = square(0, 0)


def track(**changes):
    return (dataclasses.replace(Masklet(1, CUP, (HERE, None, HERE)), **changes),)


def test_a_video_that_is_one():
    video = sample()
    video.check()
    assert video.size == (6, 8)
    assert video.frame_names == ("one/00000.jpg", "one/00004.jpg", "one/00008.jpg")
    assert [masklet.present for masklet in video.masklets] == [2, 2]
    assert sample(file_names=("a", "b", "c")).frame_names == ("a", "b", "c")
    MaskletVideo("x", 1, 1, 0, (), ()).check()


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"name": ""}, "video.field"),
        ({"width": 0}, "video.size"),
        ({"width": 1 << 16, "height": 1 << 16}, "video.size"),
        ({"frame_count": -1}, "video.frames"),
        ({"frame_count": 1 << 40}, "video.frames"),
        ({"frame_count": 8}, "video.frames"),
        ({"frames": (0, 4, 4)}, "video.frames"),
        ({"frames": (4, 0, 8)}, "video.frames"),
        ({"frames": (-1, 0, 8)}, "video.frames"),
        ({"file_names": ("a", "b")}, "video.frames"),
        ({"file_names": ("a", "b", "")}, "video.field"),
        ({"times_s": (0.0,)}, "video.frames"),
        ({"times_s": (0.0, 1.0, float("nan"))}, "video.times"),
        ({"times_s": (0.0, 1.0, float("inf"))}, "video.times"),
        ({"meta": {"x": float("nan")}}, "video.meta"),
        ({"meta": {"x": object()}}, "video.meta"),
        ({"masklets": track() * 2}, "track.id_twice"),
        ({"masklets": track(track_id=-1)}, "track.field"),
        ({"masklets": track(track_id=1 << 60)}, "track.field"),
        ({"masklets": track(masks=(HERE, None))}, "track.length"),
        ({"masklets": track(scores=(0.5,))}, "track.length"),
        ({"masklets": track(score=1.5)}, "score.range"),
        ({"masklets": track(score=float("nan"))}, "score.range"),
        ({"masklets": track(scores=(0.5, None, -1.0))}, "score.range"),
        ({"masklets": track(meta={"x": b""})}, "video.meta"),
    ],
)
def test_a_video_that_is_none(changes, code):
    with pytest.raises(BadDataset) as caught:
        sample(**changes).check()
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("mask", "code"),
    [
        (square(0, 0, size=(8, 6)), "mask.size"),
        (Mask((6, 8), b"1"), "mask.size"),
        (Mask((6, 8), b"~~"), "mask.counts"),
        (Mask((6, 8), b"`1"), "mask.empty"),
    ],
)
def test_a_mask_that_is_none(mask, code):
    with pytest.raises(BadMask, match=r"^track 1 frame 4: ") as caught:
        sample(masklets=track(masks=(None, mask, None))).check()
    assert caught.value.code == code


def test_an_empty_mask_is_absence():
    assert visible(Mask((6, 8), b"`1")) is None
    assert visible(HERE) is HERE


def test_more_masks_than_may_be():
    video = MaskletVideo("x", 1, 1, 1 << 22, tuple(range(1 << 22)), tuple(Masklet(n, CUP, ()) for n in range(5)))
    with pytest.raises(BadDataset) as caught:
        video.check()
    assert caught.value.code == "video.masks"
