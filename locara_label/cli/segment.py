"""`locara-label segment`: pictures to overlays and instances."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from locara_label.cli.output import (
    EXIT_FAILED,
    EXIT_OK,
    EXIT_PARTIAL,
    MINI_NOTE,
    emit,
    json_option,
    note,
    region_lines,
    write_picture,
)
from locara_label.errors import BadOption, LocaraError

if TYPE_CHECKING:
    from locara_label.models.base import SegmentationModel
    from locara_label.settings import Settings
    from locara_label.types import Instance


@click.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--model", default="mini", show_default=True, help="A name of `locara-label models list`.")
@click.option("--task", type=click.Choice(["semantic", "instance", "panoptic"]), help="Of the mini model. [default: panoptic]")
@click.option("--weights", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Folder with the model's files.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="Where the model runs. [default: the setting, auto]")
@click.option("--threshold", type=click.FloatRange(0, 1), help="Least score of an instance. [default: the model's]")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder of the overlays. [default: this folder]")
@click.option("--overlay/--no-overlay", default=None, help="Draw the masks. [default: yes, but with --json only beside --out]")
@click.option("--opacity", type=click.FloatRange(0, 1), default=0.5, show_default=True, help="Of the masks' colours.")
@click.option("--feather", type=click.FloatRange(0, 1000), default=0, help="Width of the colours' soft edge in pixels.")
@click.option("--invert", is_flag=True, help="Darken everything but the masks.")
@json_option
def segment(files: tuple[Path, ...], out: Path | None, overlay: bool | None, *, as_json: bool, **options: Any) -> int:
    """Segment pictures: a line for each instance, and an overlay <stem>.overlay.png for each picture.

    Pictures of the same stem get <stem>-2.overlay.png and so on. Exits with 3 when some pictures failed and with 1 when all did.
    """
    from locara_label.settings import load

    settings = load()
    drawn = overlay if overlay is not None else not as_json or out is not None
    targets: Sequence[Path | None] = overlay_targets(files, made_folder(out or Path())) if drawn else [None] * len(files)
    worker = _Worker(_load(options, settings), settings, options)
    pictures, failures = [], []
    for file, target in zip(files, targets, strict=True):
        try:
            pictures.append(_told(worker.picture(file, target), as_json=as_json))
        except BadOption:
            raise  # wrong for every picture
        except LocaraError as error:
            note(f"{file}: error [{error.code}]: {error.message}")
            failures.append({"file": str(file), **error.to_json()})
    emit({"model": worker.model.name, "pictures": pictures, "failures": failures}, (), as_json=as_json)
    return EXIT_OK if not failures else EXIT_PARTIAL if pictures else EXIT_FAILED


def made_folder(folder: Path, option: str = "--out") -> Path:
    """The folder, which is made where it is not there; raises BadOption with code option.out."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadOption(f"{option} {folder} cannot be made: {error.strerror}", code="option.out") from error
    return folder


def overlay_targets(files: Sequence[Path], folder: Path) -> list[Path]:
    """One overlay for each picture; no two are the same file and none is one of the pictures, also where case is ignored."""
    taken = {os.path.realpath(file).casefold() for file in files}
    targets = []
    for file in files:
        number, target = 1, folder / f"{file.stem}.overlay.png"
        while os.path.realpath(target).casefold() in taken:
            number += 1
            target = folder / f"{file.stem}-{number}.overlay.png"
        taken.add(os.path.realpath(target).casefold())
        targets.append(target)
    return targets


def _load(options: dict[str, Any], settings: Settings) -> SegmentationModel:
    from locara_label.engine.loading import find_row, load

    name, task, weights = options["model"], options["task"], options["weights"]
    model = load(name, weights, options["device"], task=task, settings=settings)
    if find_row(name, task).bundled is not None and weights is None:
        note(f"note: {MINI_NOTE}")
    return model


@dataclass(frozen=True)
class _Worker:
    model: SegmentationModel
    settings: Settings
    options: dict[str, Any]

    def picture(self, file: Path, target: Path | None) -> dict[str, Any]:
        """Reads, segments and draws one picture; the result is ready for JSON.

        Raises:
            LocaraError: the picture is bad, the run failed, or the overlay cannot be written (`BadOption`).
        """
        from locara_label import images
        from locara_label.models.base import Limit

        image = images.read(file, images.Limits(self.settings.max_image_bytes, self.settings.max_pixels))
        found = self.model.segment(image, self.options["threshold"], Limit(deadline_s=self.settings.deadline_s))
        if target is not None:
            self._draw(image, found, target)
        return {
            "file": str(file),
            "width": image.shape[1],
            "height": image.shape[0],
            "instances": [_to_json(instance) for instance in found],
            "overlay": None if target is None else str(target),
        }

    def _draw(self, image: Any, found: Sequence[Instance], target: Path) -> None:
        from locara_label import overlay

        opacity, feather, invert = (self.options[name] for name in ("opacity", "feather", "invert"))
        write_picture(target, overlay.draw(image, found, opacity, feather_px=feather, invert=invert))


def _to_json(instance: Instance) -> dict[str, Any]:
    return {
        "label": instance.label,
        "label_index": instance.label_index,
        "score": float(instance.score),
        "is_stuff": instance.is_stuff,
        "area": instance.mask.area,
        "bbox": list(instance.mask.box.xywh),
        "segmentation": instance.mask.to_coco(),
    }


def _told(picture: dict[str, Any], *, as_json: bool) -> dict[str, Any]:
    """The picture, once people have read of it; machines get everything at the end."""
    if not as_json:
        emit({}, _lines(picture), as_json=False)
        if picture["overlay"]:
            note(f"{picture['file']}: drawn in {picture['overlay']}")
    return picture


def _lines(picture: dict[str, Any]) -> list[str]:
    return region_lines(picture["file"], ((found["label"], found) for found in picture["instances"]))
