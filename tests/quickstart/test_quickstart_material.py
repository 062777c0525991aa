"""What is shown, under which labels, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from fixtures.scenes import SHAPES
from locara_label import read_image
from locara_label.errors import BadOption, UnknownModel
from locara_label.hosts.label_studio.config import parse
from locara_label.quickstart import material
from locara_label.video.opening import open_video_file


def photos(folder: Path, *names: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name in names:
        Image.new("RGB", (8, 6)).save(folder / name)
    return folder


def test_generated_scenes_are_shipped() -> None:
    shown = material.pictures(None, (), "mini")
    assert len(shown.files) == 6
    assert {read_image(path).shape for path in shown.files} == {(360, 480, 3)}
    assert set(shown.labels) == set(SHAPES)
    assert [tag.kind for tag in parse(shown.config).objects] == ["image"]
    clip = material.video(None, ())
    with open_video_file(clip.files[0]) as opened:
        assert (opened.size, opened.count, opened.codec) == ((240, 320), 50, "h264")
    assert clip.sought == clip.labels


def test_they_are_small() -> None:
    files = [*material.pictures(None, (), "mini").files, *material.video(None, ()).files]
    assert sum(path.stat().st_size for path in files) < 400_000


def test_own_pictures_and_the_labels_of_the_model(tmp_path: Path) -> None:
    folder = photos(tmp_path / "photos", "b.png", "a.JPG", ".hidden.png")
    (folder / "notes.txt").touch()
    (folder / "scan.tiff").touch()
    shown = material.pictures(folder, (), "mask2former-swin-tiny-coco-panoptic")
    assert [path.name for path in shown.files] == ["a.JPG", "b.png"]
    assert shown.left_out == 2
    assert {"person", "car"} <= set(shown.labels)
    assert len(shown.title) <= 50


def test_titles_tell_materials_apart(tmp_path: Path) -> None:
    one, other = photos(tmp_path / "one", "a.png"), photos(tmp_path / "other", "a.png")
    shown = [
        material.pictures(folder, labels, "mini").title for folder in (one, other, None) for labels in ((), ("cat",), ("dog",))
    ]
    assert len(set(shown)) == len(shown)
    assert material.pictures(one, ("cat",), "mini").title in shown


def test_a_long_or_odd_name_is_a_title(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + b"x" * 90 + b"\xff\n"))
    title = material.pictures(photos(folder, "a.png"), (), "mini").title
    assert 3 <= len(title) <= 50
    assert title.isprintable()


def test_a_pair_of_models_needs_labels(tmp_path: Path) -> None:
    folder = photos(tmp_path / "photos", "a.png")
    with pytest.raises(BadOption, match=r"--label") as caught:
        material.pictures(folder, (), "grounded-sam2")
    assert caught.value.code == "option.label"
    assert material.pictures(folder, ("cat", "dog"), "grounded-sam2").labels == ("cat", "dog")
    assert set(material.pictures(None, (), "grounded-sam2").labels) == set(SHAPES)


def test_a_model_without_classes_needs_labels(tmp_path: Path) -> None:
    with pytest.raises(BadOption, match=r"--label"):
        material.pictures(photos(tmp_path / "photos", "a.png"), (), "sam2.1-hiera-tiny")
    with pytest.raises(UnknownModel):
        material.pictures(None, (), "none-such")


def test_folders_that_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    with pytest.raises(BadOption, match=r"has no pictures"):
        material.pictures(folder, (), "mini")
    photos(folder, "a.png", "b.png")
    monkeypatch.setattr(material, "MOST_PICTURES", 1)
    with pytest.raises(BadOption, match=r"has 2 pictures, and at most 1"):
        material.pictures(folder, (), "mini")
    monkeypatch.setattr(material, "MOST_PICTURES", 2)
    monkeypatch.setattr(material, "MOST_BYTES", 10)
    with pytest.raises(BadOption, match=r"a\.png has \d+ bytes") as caught:
        material.pictures(folder, (), "mini")
    assert caught.value.code == "option.images"


def test_own_video_is_counted_at_its_rate(tmp_path: Path) -> None:
    from fractions import Fraction

    import numpy as np

    from locara_label.video.writing import write_video

    path = tmp_path / "clip.mp4"
    write_video(path, [np.full((16, 32, 3), shade, np.uint8) for shade in (0, 90, 180)], Fraction(30000, 1001))
    shown = material.video(path, ())
    assert 'framerate="29.97"' in shown.config
    assert (shown.labels, shown.sought) == (("Object",), ())
    assert material.video(path, ("cat",)).sought == ("cat",)


def test_videos_that_are_refused(tmp_path: Path) -> None:
    (tmp_path / "clip.avi").touch()
    with pytest.raises(BadOption, match=r"browsers play") as caught:
        material.video(tmp_path / "clip.avi", ())
    assert caught.value.code == "option.video"
