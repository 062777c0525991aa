"""`locara-label track`, as it is typed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fixtures.scenes import EVALUATION_SEED, Clip, make_clip
from locara_label.cli.app import run
from locara_label.datasets.youtube_vis import YoutubeVisSource
from locara_label.types import Mask
from locara_label.video.opening import open_video_file
from locara_label.video.writing import write_video

SEED, FRAMES = EVALUATION_SEED + 3, 6


@pytest.fixture(scope="module")
def clip() -> Clip:
    return make_clip(SEED, FRAMES, (96, 128))


@pytest.fixture(scope="module")
def video(clip: Clip, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    write_video(path, (frame.image for frame in clip.frames), 10)
    return path


def box_of(clip: Clip, frame: int, at: int) -> str:
    box = Mask.from_array(clip.frames[frame].objects[at].mask).box
    return f"{frame}:{box.x0},{box.y0},{box.x1},{box.y1}"


def test_a_box_becomes_a_masklet(clip: Clip, video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    words = ["track", str(video), "--box", box_of(clip, 2, 0), "--label", "ring", "--out", str(out), "--json"]
    assert run(words) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["frames"], told["tracked"], [one["object"] for one in told["objects"]]) == (FRAMES, FRAMES, [1])
    with YoutubeVisSource(out / "masklets.json") as source:
        (found,) = source.videos()
    (masklet,) = found.masklets
    assert (found.name, found.frame_count, found.frames, masklet.category.name) == ("clip", FRAMES, tuple(range(FRAMES)), "ring")
    assert masklet.masks[2].iou(Mask.from_array(clip.frames[2].objects[0].mask)) > 0.5
    with open_video_file(out / "overlay.mp4") as overlay:
        assert (overlay.count, overlay.size) == (FRAMES, (96, 128))
        assert not np.array_equal(overlay.frame(2), clip.frames[2].image)


def test_a_folder_of_pictures(clip: Clip, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    for number, frame in enumerate(clip.frames):
        Image.fromarray(frame.image).save(folder / f"{number}.png")
    marks = ["--box", box_of(clip, 0, 0), "--point", "1@3:5,5", "--frames", "2", "--stride", "2", "--no-overlay"]
    assert run(["track", str(folder), *marks, "--out", str(tmp_path / "out"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["objects"][0]["found"] >= 2
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["masklets.json"]


def test_words_become_masklets_with_their_phrases_as_labels(
    clip: Clip, video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    phrase = clip.frames[1].objects[0].phrase
    words = ["--text", f"{phrase} . no such thing", "--at", "1", "--redetect", "3", "--box-threshold", "0.3", "--no-overlay"]
    marks = ["--box", box_of(clip, 0, 1), "--label", "mine"]
    assert run(["track", str(video), *words, *marks, "--out", str(tmp_path / "out"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [one["label"] for one in told["objects"]][:2] == [None, phrase]
    with YoutubeVisSource(tmp_path / "out" / "masklets.json") as source:
        (found,) = source.videos()
    assert [one.category.name for one in found.masklets][:2] == ["mine", phrase]
    assert found.masklets[1].masks[1].iou(Mask.from_array(clip.frames[1].objects[0].mask)) > 0.5


@pytest.mark.parametrize("again", [[], ["--redetect", "2"]])
def test_words_that_find_nothing(video: Path, tmp_path: Path, again: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    words = ["track", str(video), "--text", "zebra", "--box-threshold", "0.9", *again, "--out", str(tmp_path / "out")]
    assert run(words) == 1
    assert "nothing was found for 'zebra' on frame 0" in capsys.readouterr().err
    assert list((tmp_path / "out").iterdir()) == []


def test_an_address_that_is_not_granted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["track", "http://127.0.0.1:9/clip.mp4", "--box", "0:1,1,5,5", "--out", str(tmp_path / "out")]
    assert run(words) == 1
    assert "fetch.not_allowed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("marks", "code"),
    [
        ([], 2),
        (["--not", "0:1,1"], 2),
        (["--box", "1,1,5,5"], 2),
        (["--box", "0:1,1,5"], 2),
        (["--box", "99:1,1,5,5"], 2),
        (["--box", "0:5,5,1,1"], 1),
        (["--box", "1@0:1,1,5,5", "--box", "1@0:1,1,6,6"], 2),
        (["--box", "0:1,1,5,5", "--redetect", "3"], 2),
        (["--text", " . "], 1),
    ],
)
def test_wrong_marks(video: Path, tmp_path: Path, marks: list[str], code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["track", str(video), *marks, "--out", str(tmp_path / "out")]) == code
    assert capsys.readouterr().err


def test_a_file_that_is_no_video(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"no video at all")
    words = ["track", str(tmp_path / "clip.mp4"), "--box", "0:1,1,5,5", "--out", str(tmp_path / "out")]
    assert run(words) == 1
    assert "video." in capsys.readouterr().err
