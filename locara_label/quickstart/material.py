"""What is shown, and under which labels: generated scenes that ship with the package, or pictures and a video of one's own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from hashlib import sha256
from pathlib import Path
from typing import Literal

from locara_label.engine.grounding import is_grounded
from locara_label.engine.loading import find_row
from locara_label.errors import BadOption
from locara_label.hosts.label_studio.ready import labeling_config
from locara_label.weights import catalogue

_GENERATED = "scenes"
"""The label set of generated scenes."""
MOST_PICTURES, MOST_BYTES = 500, 200 << 20
_SCENES = Path(__file__).with_name("scenes")
_PICTURES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".webp"})
_VIDEOS = frozenset({".mp4", ".webm"})
_TITLE = 50


@dataclass(frozen=True)
class Material:
    """The tasks of a project.

    Attributes:
        kind: what a task shows, and the name of its data.
        title: of the project, the same for the same material and labels.
        config: of the project.
        files: one a task.
        labels: of the project.
        sought: what to look for in a video, in words; empty where nobody knows what it shows.
        left_out: how many files of the folder Label Studio does not take.
    """

    kind: Literal["image", "video"]
    title: str
    config: str
    files: tuple[Path, ...]
    labels: tuple[str, ...]
    sought: tuple[str, ...] = ()
    left_out: int = 0

    @property
    def key(self) -> str:
        return self.title


def pictures(folder: Path | None, labels: Sequence[str], prelabel_model: str) -> Material:
    """Of a folder, without its subfolders; None for the generated scenes.

    Args:
        folder: of the pictures.
        labels: of the project; none takes what the model knows.
        prelabel_model: that fills the tasks, see `Server.prelabel_model`.

    Raises:
        BadOption: codes option.images, no pictures or too many or too large; option.label, the model needs labels, or they are
            wrong.
        UnknownModel: there is no such model.
    """
    names = tuple(labels) or _classes(prelabel_model, own=folder is not None)
    config = labeling_config("bitmask-text", names)
    if folder is None:
        return Material("image", _title("Generated scenes", *labels), config, tuple(sorted(_SCENES.glob("*.jpg"))), names)
    files, left_out = _of_folder(folder)
    title = _title(f"Pictures of {folder.absolute().name}", str(folder.absolute()), *labels)
    return Material("image", title, config, files, names, (), left_out)


def video(path: Path | None, labels: Sequence[str]) -> Material:
    """One video; None for the generated clip.

    Raises:
        BadOption: code option.video; Label Studio does not take such files.
        BadVideo: it cannot be decoded.
    """
    if path is None:
        names = tuple(labels) or shapes()
        shown = _SCENES / "clip.mp4"
        return Material("video", _title("Generated video", *labels), _video_config(shown, names), (shown,), names, names)
    if path.suffix.lower() not in _VIDEOS:
        raise BadOption(f"{path} is none of {', '.join(sorted(_VIDEOS))}, which browsers play", code="option.video")
    _check_size(path, "option.video")
    title = _title(f"Video {path.stem}", str(path.absolute()), *labels)
    names = tuple(labels) or ("Object",)
    return Material("video", title, _video_config(path, names), (path,), names, tuple(labels))


def shapes() -> tuple[str, ...]:
    """Things of the generated scenes, as the mini models call them."""
    return tuple(label.name for label in catalogue.labels(_GENERATED) if not label.is_stuff)


def _video_config(path: Path, labels: Sequence[str]) -> str:
    """The editor counts frames at the rate of the config, whatever the file says."""
    from locara_label.video.opening import open_video_file

    with open_video_file(path) as opened:
        rate = float(Fraction(opened.rate))
    return labeling_config("video", labels).replace('framerate="25"', f'framerate="{rate:.6g}"')


def _classes(model: str, *, own: bool) -> tuple[str, ...]:
    if is_grounded(model):
        if own:
            raise BadOption(f"{model} looks for the labels of the project: give --label, once for each", code="option.label")
        return shapes()
    row = find_row(model)
    if row.labels is None:
        raise BadOption(f"{row.name} names no classes: give --label, once for each", code="option.label")
    if row.labels == _GENERATED and not own:
        return shapes()
    return tuple(dict.fromkeys(label.name for label in catalogue.labels(row.labels)))


def _of_folder(folder: Path) -> tuple[tuple[Path, ...], int]:
    try:
        found = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    except OSError as error:
        raise BadOption(f"{folder} cannot be read: {error.strerror or error}", code="option.images") from error
    files = tuple(path for path in found if path.suffix.lower() in _PICTURES)
    if not files:
        raise BadOption(f"{folder} has no pictures ({', '.join(sorted(_PICTURES))})", code="option.images")
    if len(files) > MOST_PICTURES:
        text = f"{folder} has {len(files)} pictures, and at most {MOST_PICTURES} are copied into the quickstart"
        raise BadOption(f"{text}; give large folders to a Label Studio of your own as a storage", code="option.images")
    _check_sizes(files)
    return files, len(found) - len(files)


def _check_sizes(files: Iterable[Path]) -> None:
    for path in files:
        _check_size(path, "option.images")


def _check_size(path: Path, code: str) -> None:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise BadOption(f"{path} cannot be read: {error.strerror or error}", code=code) from error
    if size > MOST_BYTES:
        raise BadOption(f"{path} has {size} bytes; Label Studio takes uploads of up to {MOST_BYTES}", code=code)


def _title(name: str, *parts: str) -> str:
    """Tells what is shown, and apart what differs in anything else."""
    if not parts:
        return name
    mark = sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()[:6]
    shown = "".join(letter if letter.isprintable() else "?" for letter in name.encode("utf-8", "replace").decode())
    return f"{shown[: _TITLE - 9]} ({mark})"
