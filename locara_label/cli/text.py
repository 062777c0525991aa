"""`locara-label text`: pictures and words to masks."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from locara_label.cli.output import EXIT_FAILED, EXIT_OK, EXIT_PARTIAL, emit, json_option, note, region_lines, write_picture
from locara_label.errors import BadOption, BadPrompt, LocaraError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from locara_label.batch.labels import Categories
    from locara_label.batch.phrases import Asked
    from locara_label.datasets.coco import CocoWriter
    from locara_label.datasets.records import Category
    from locara_label.models.base import Image
    from locara_label.models.grounded import LabelledPhrases
    from locara_label.settings import Settings
    from locara_label.types import Grounded


@click.command()
@click.argument("files", metavar="IMG...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--prompt", help='What to look for, "red car . person". [default: what --labels names]')
@click.option("--labels", multiple=True, help="A label to keep, repeatable, or a TOML file that maps phrases to labels.")
@click.option("--box-threshold", type=click.FloatRange(0, 1), help="Least score of a box. [default: the model's]")
@click.option("--text-threshold", type=click.FloatRange(0, 1), help="Least score of a word. [default: the model's]")
@click.option("--text-model", default="grounding-dino-mini", show_default=True, help="Finds boxes; of the task text.")
@click.option("--model", default="classic", show_default=True, help="Makes the masks: of the task prompt, mini or classic.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="Where the models run. [default: the setting, auto]")
@click.option("--out", type=click.Path(path_type=Path), help="COCO file of all pictures. [default: none is written]")
@click.option("--overlay", type=click.Path(file_okay=False, path_type=Path), help="Folder of the pictures with their masks.")
@json_option
def text(files: tuple[Path, ...], out: Path | None, overlay: Path | None, *, as_json: bool, **options: Any) -> int:
    """Masks of everything that a prompt asks for on the pictures IMG, a line for each object and one COCO file for all.

    Phrases are parted by dots. With --labels alone the label names are the phrases; with --prompt and --labels only objects
    whose phrase has a label are kept, and the others are counted. Exits with 3 when some pictures failed and with 1 when all did.
    """
    from locara_label.batch.phrases import asked
    from locara_label.cli.grounded import note_unasked, read_labels
    from locara_label.settings import load

    sought, settings = asked(options["prompt"], read_labels(options["labels"])), load()
    note_unasked(sought)
    named = tuple(dict.fromkeys(files))
    _check_out(named, out)
    targets = _targets(named, overlay)
    finder = _finder(sought, options, settings)
    pictures, failures = _run(finder, list(zip(named, targets, strict=True)), out, as_json=as_json)
    _emit(finder, pictures, failures, out if pictures else None, as_json=as_json)
    return EXIT_OK if not failures else EXIT_PARTIAL if pictures else EXIT_FAILED


def _check_out(files: Sequence[Path], out: Path | None) -> None:
    if out is None:
        return
    if out.is_dir():
        raise BadOption(f"--out {out} is a folder, not a file", code="option.out")
    if os.path.realpath(out).casefold() in {os.path.realpath(file).casefold() for file in files}:
        raise BadOption(f"--out is one of the pictures, {out}", code="option.out")


def _targets(files: Sequence[Path], overlay: Path | None) -> Sequence[Path | None]:
    from locara_label.cli.segment import made_folder, overlay_targets

    return [None] * len(files) if overlay is None else overlay_targets(files, made_folder(overlay, "--overlay"))


def _finder(sought: Asked, options: dict[str, Any], settings: Settings) -> _Finder:
    from locara_label.batch.labels import categories
    from locara_label.cli.grounded import note_models
    from locara_label.engine.grounding import load_labelled

    name = f"{options['text_model']}+{options['model']}"
    model = load_labelled(name, sought.phrases, options["text_threshold"], options["device"], settings=settings)
    note_models(name, "--text-model", "--model")
    info = {
        "description": "Objects found by their names, by locara-label",
        "model": model.name,
        "prompt": sought.prompt,
        "box_threshold": options["box_threshold"],
        "text_threshold": options["text_threshold"],
        "label_map": sought.label_map.digest if sought.label_map else None,
    }
    return _Finder(model, categories(model.labels, sought.label_map), info, settings)


@dataclass(frozen=True)
class _Finder:
    """A model and the categories that its phrases become; `info` is that of the data set."""

    model: LabelledPhrases
    categories: Categories
    info: dict[str, Any]
    settings: Settings

    def picture(self, file: Path, target: Path | None, writer: CocoWriter | None) -> dict[str, Any]:
        """Reads a picture, finds, draws and writes its objects; the result is ready for JSON.

        Raises:
            LocaraError: the picture is bad, the run failed, or the overlay cannot be written (`BadOption`).
        """
        from locara_label import images
        from locara_label.models.base import Limit

        image = images.read(file, images.Limits(self.settings.max_image_bytes, self.settings.max_pixels))
        found = self.model.find(image, self.info["box_threshold"], Limit(deadline_s=self.settings.deadline_s))
        kept = [(one, category) for one in found if (category := self._category(one)) is not None]
        if target is not None:
            _draw(target, image, kept)
        if writer is not None:
            _add(writer, file, image, kept)
        return {
            "file": str(file),
            "width": image.shape[1],
            "height": image.shape[0],
            "objects": [_to_json(one, category) for one, category in kept],
            "dropped": dict(Counter(one.phrase for one in found if self._category(one) is None)),
            "overlay": None if target is None else str(target),
        }

    def _category(self, found: Grounded) -> Category | None:
        label = self.model.label_of(found.phrase)
        return None if label is None else self.categories.by_index.get(label.index)


Kept = Sequence[tuple["Grounded", "Category"]]
Jobs = Sequence[tuple[Path, Path | None]]
Rows = list[dict[str, Any]]


class _AllFailed(Exception):
    """Nothing is to be written."""


def _run(finder: _Finder, jobs: Jobs, out: Path | None, *, as_json: bool) -> tuple[Rows, Rows]:
    """Pictures and failures, once the data set is written; where every picture failed the old one stays."""
    pictures: Rows = []
    failures: Rows = []
    with suppress(_AllFailed), _writing(out), _open(finder, out) as writer:
        for file, target in jobs:
            try:
                pictures.append(_told(finder.picture(file, target, writer), as_json=as_json))
            except (BadOption, BadPrompt):
                raise  # wrong for every picture
            except LocaraError as error:
                note(f"{file}: error [{error.code}]: {error.message}")
                failures.append({"file": str(file), **error.to_json()})
        if not pictures:
            raise _AllFailed
    return pictures, failures


@contextmanager
def _writing(out: Path | None) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if isinstance(error, LocaraError):
            raise
        raise BadOption(f"--out {out} cannot be written: {error.strerror or error}", code="option.out") from error


def _open(finder: _Finder, out: Path | None) -> AbstractContextManager[CocoWriter | None]:
    from locara_label.datasets.coco import CocoWriter

    return nullcontext() if out is None else CocoWriter(out, finder.categories.listed, finder.info)


def _instance(one: Grounded, category: Category) -> Any:
    from locara_label.types import Instance

    return Instance(category.name, category.id - 1, one.box_score, one.mask)


def _draw(target: Path, image: Image, kept: Kept) -> None:
    from locara_label import overlay

    write_picture(target, overlay.draw(image, [_instance(*pair) for pair in kept]))


def _add(writer: CocoWriter, file: Path, image: Image, kept: Kept) -> None:
    from locara_label.datasets.records import CocoImage

    extras: list[dict[str, str | float]] = [{"mask_score": round(one.mask_score, 6), "phrase": one.phrase} for one, _ in kept]
    writer.add(CocoImage(file.as_posix(), image.shape[1], image.shape[0]), [_instance(*pair) for pair in kept], extras)


def _to_json(one: Grounded, category: Category) -> dict[str, Any]:
    return {
        "label": category.name,
        "phrase": one.phrase,
        "score": round(one.box_score, 6),
        "mask_score": round(one.mask_score, 6),
        "box": [round(side, 3) for side in one.box.xywh],
        "area": one.mask.area,
        "bbox": list(one.mask.box.xywh),
        "segmentation": one.mask.to_coco(),
    }


def _told(picture: dict[str, Any], *, as_json: bool) -> dict[str, Any]:
    """The picture, once people have read of it; machines get everything at the end."""
    if as_json:
        return picture
    emit({}, region_lines(picture["file"], ((found["label"], found) for found in picture["objects"])), as_json=False)
    if picture["dropped"]:
        note(f"{picture['file']}: {_counted(picture['dropped'])}")
    if picture["overlay"]:
        note(f"{picture['file']}: drawn in {picture['overlay']}")
    return picture


def _counted(dropped: dict[str, int]) -> str:
    phrases = ", ".join(f"{count} {phrase!r}" for phrase, count in sorted(dropped.items()))
    return f"{sum(dropped.values())} objects dropped, no label is theirs: {phrases}"


def _emit(finder: _Finder, pictures: Rows, failures: Rows, out: Path | None, *, as_json: bool) -> None:
    dropped: Counter[str] = Counter()
    for picture in pictures:
        dropped.update(picture["dropped"])
    objects = sum(len(picture["objects"]) for picture in pictures)
    result = {
        **finder.info,
        "objects": objects,
        "dropped": dict(dropped),
        "pictures": pictures,
        "failures": failures,
        "out": None if out is None else str(out),
    }
    written = "" if out is None else f": {out}"
    emit(result, [f"{len(pictures)} pictures, {objects} objects by {finder.model.name}{written}"], as_json=as_json)
