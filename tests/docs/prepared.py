"""What the reader of a page is taken to have: pictures, a clip, data sets. And the models that stand in for official ones."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from fixtures.scenes import EVALUATION_SEED, make_clip, make_scene
from locara_label import images
from locara_label.datasets.convert import convert
from locara_label.video.writing import write_video
from tests.documented import ROOT, blocks

STAND_INS = (
    (r"mask2former-swin-\w+-coco-(instance|panoptic)", "mask2former-mini"),
    (r"segformer-b0-finetuned-ade-512-512", "segformer-mini"),
    (r"sam2\.1-hiera-(tiny|small)(?!-)", "sam2-mini"),
    (r"grounding-dino-tiny", "grounding-dino-mini"),
)
"""Models of the same kind that ship with the package, for those whose weights are hundreds of megabytes."""
CLASSES = {"car": "star", "truck": "ring", "person": "heart", "traffic light": "triangle"}
"""Of the shipped models, for those of official ones."""


def with_stand_ins(text: str, folder: Path) -> str:
    """A command or program of a page, with shipped models, and with folders of the reader's below this one."""
    for pattern, name in STAND_INS:
        text = re.sub(pattern, name, text)
    return re.sub(r"(?<![\w.])/(media/stick|data)\b", rf"{folder}/\1", text)


def prepare(page: str, folder: Path) -> None:
    """Makes what the page takes for granted, and the files that it shows."""
    _pictures(folder)
    for name, make in _OF_PAGE.get(Path(page).name, {}).items():
        make(folder / name)
    for block in blocks(page):
        if block.file is not None:
            (folder / block.file).write_text(_of_shipped(block.text) if page == "docs/prelabel.md" else block.text, "utf-8")


def _of_shipped(label_map: str) -> str:
    return re.sub(rf'^"?({"|".join(CLASSES)})"? =', lambda found: f"{CLASSES[found[1]]} =", label_map, flags=re.MULTILINE)


def _pictures(folder: Path) -> None:
    image = np.full((90, 120, 3), 200, np.uint8)
    image[10:40, 10:40], image[50:80, 60:110] = (200, 20, 20), (20, 20, 200)
    images.write_png(folder / "photo.png", image)
    for place in ("pictures", "photos", "data/pictures", "media/stick"):
        (folder / place).mkdir(parents=True)
    for number in range(2):
        scene = make_scene(EVALUATION_SEED + number, (144, 192)).image
        for place in ("pictures", "photos", "data/pictures"):
            images.write_png(folder / place / f"{number}.png", scene)


def _clip(path: Path) -> None:
    write_video(path, (frame.image for frame in make_clip(EVALUATION_SEED, 40, (144, 192)).frames), 20)


def _photo(path: Path) -> None:
    path.write_bytes(images.encode_jpeg(make_scene(EVALUATION_SEED, (300, 450)).image))


def _scenes(path: Path) -> None:
    path.mkdir()
    (path / "pictures").symlink_to(ROOT / "fixtures/pictures")


def _masklets(path: Path) -> None:
    shutil.copytree(ROOT / "fixtures/masklets", path)


def _damaged(path: Path) -> None:
    """As docs/coco.md says that it is."""
    category = {"id": 1, "name": "cup", "supercategory": ""}
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "area": 9, "bbox": [0, 0, 2, 4]}
    annotation["segmentation"] = {"size": [6, 5], "counts": [0, 4, 2, 4, 20]}
    second = annotation | {"id": 2, "area": 8, "segmentation": {"size": [5, 6], "counts": [0, 4, 2, 4, 20]}}
    image = {"id": 1, "file_name": "0.png", "width": 5, "height": 6}
    path.write_text(json.dumps({"images": [image], "annotations": [annotation, second], "categories": [category]}), "utf-8")


def _damaged_masklets(path: Path) -> None:
    """As docs/masklets.md says that it is."""
    convert(str(ROOT / "fixtures/masklets"), str(path), "sa-v", "youtube-vis")
    data = json.loads(path.read_text("utf-8"))
    data["annotations"][1]["segmentations"][2]["size"].reverse()
    path.write_text(json.dumps(data), "utf-8")


_OF_PAGE: dict[str, dict[str, Callable[[Path], None]]] = {
    "README.md": {"photo.jpg": _photo, "clip.mp4": _clip, "fixtures": _scenes, "sav_train": _masklets},
    "coco.md": {"damaged.json": _damaged},
    "formats.md": {"clip.mp4": _clip},
    "text.md": {"photo.jpg": _photo},
    "masklets.md": {"clip.mp4": _clip, "sav_train": _masklets, "damaged.json": _damaged_masklets},
}
