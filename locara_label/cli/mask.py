"""`locara-label mask`: clicks and boxes on a picture to masks."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from locara_label.cli.output import MINI, emit, json_option, note, region_lines, write_picture
from locara_label.errors import BadOption

if TYPE_CHECKING:
    from locara_label.models.base import Image, PromptModel
    from locara_label.settings import Settings
    from locara_label.types import Candidate, Prompt

_CLASSIC_GRID = 8  # a click costs it as much as the first
_NOTES = {
    "classic": "classic answers: it follows colours and edges and knows no things, so prefer boxes and correct with clicks",
    "mini": f"{MINI}name a model of `locara-label models list` with the task prompt, or classic, with --model",
}


class Numbers(click.ParamType[tuple[float, ...]]):
    """Numbers with commas between them, none negative."""

    def __init__(self, name: str) -> None:
        self.name, self._count = name, name.count(",") + 1

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        if isinstance(value, tuple):
            return value
        try:
            numbers = tuple(float(text) for text in str(value).split(","))
        except ValueError:
            numbers = ()
        if len(numbers) != self._count or not all(math.isfinite(number) and number >= 0 for number in numbers):
            self.fail(f"{value!r} is not {self.name} in pixels of the picture, from 0 on", param, ctx)
        return numbers


@click.command()
@click.argument("source", metavar="IMG", type=click.Path(path_type=Path))
@click.option("--point", "on", type=Numbers("x,y"), multiple=True, help="A click on the object; repeatable.")
@click.option("--not", "off", type=Numbers("x,y"), multiple=True, help="A click that is not on the object; repeatable.")
@click.option("--box", "boxes", type=Numbers("x0,y0,x1,y1"), multiple=True, help="Around an object; each box is one object.")
@click.option("--everything", is_flag=True, help="All masks of the picture, without clicks or boxes.")
@click.option("--grid", type=click.IntRange(1, 128), help="Clicks in a row of --everything. [default: 32, of classic 8]")
@click.option("--model", help="A prompt model of `locara-label models list`, mini or classic. [default: classic]")
@click.option("--weights", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Folder with the model's files.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="Where the model runs. [default: the setting, auto]")
@click.option("--candidates", type=click.Choice(["1", "3"]), default="1", show_default=True, help="Masks for each object.")
@click.option("--despeckle", "min_area", type=click.IntRange(min=0), default=0, help="Clear parts and holes of fewer pixels.")
@click.option("--out", type=click.Path(path_type=Path), help="FILE.png: overlay; FILE.json: RLEs; folder: both, and masks.")
@json_option
def mask(source: Path, out: Path | None, *, as_json: bool, **options: Any) -> None:
    """Masks of what clicks and boxes show on the picture IMG. Coordinates are pixels from the top left corner.

    Without --out the masks go to <stem>.mask.png, drawn over the picture; with --json and no --out nothing is written.
    """
    from locara_label import images
    from locara_label.models.base import Limit
    from locara_label.settings import load

    _check(options)
    target = out if out is not None or as_json else Path(f"{source.stem}.mask.png")
    _check_out(source, target)
    settings = load()
    image = images.read(source, images.Limits(settings.max_image_bytes, settings.max_pixels))
    prompts = _prompts(options)
    model = _model(options, settings)
    found = _found(model, image, prompts, options, Limit(deadline_s=None if options["everything"] else settings.deadline_s))
    result = {
        "file": str(source),
        "model": model.name,
        "width": image.shape[1],
        "height": image.shape[0],
        "masks": [_to_json(number, candidate) for number, candidate in found],
    }
    written = [] if target is None else _write(target, source.stem, image, found, result)
    emit({**result, "out": [str(path) for path in written]}, _lines(result), as_json=as_json)
    for path in [] if as_json else written:
        note(f"{source}: written to {path}")


def _check(options: dict[str, Any]) -> None:
    shown = bool(options["on"] or options["off"] or options["boxes"])
    if options["everything"] == shown:
        raise BadOption("give --point, --not or --box, or --everything alone", code="option.prompt")
    if len(options["boxes"]) > 1 and (options["on"] or options["off"]):
        raise BadOption("clicks belong to one object: give one --box with them", code="option.prompt")


def _check_out(source: Path, out: Path | None) -> None:
    if out is None:
        return
    if out.suffix.lower() not in (".png", ".json") and out.exists() and not out.is_dir():
        raise BadOption(f"--out is a .png, a .json or a folder, got {out}", code="option.out")
    if out.exists() and source.exists() and out.samefile(source):
        raise BadOption(f"--out is the picture itself, {source}", code="option.out")


def _prompts(options: dict[str, Any]) -> list[Prompt]:
    from locara_label.types import Box, Point, Prompt

    points = *(Point(x, y) for x, y in options["on"]), *(Point(x, y, positive=False) for x, y in options["off"])
    many = int(options["candidates"])
    boxes = [Box(*corners) for corners in options["boxes"]]
    wrong = next((box for box in boxes if box.x0 >= box.x1 or box.y0 >= box.y1), None)
    if wrong is not None:
        raise BadOption(f"{wrong} has no area: --box takes left,top,right,bottom", code="option.prompt")
    if boxes:
        return [Prompt(points=points, box=box, candidates=many) for box in boxes]
    return [Prompt(points=points, candidates=many)] if points else []


def _model(options: dict[str, Any], settings: Settings) -> PromptModel:
    from locara_label.engine.loading import DEFAULT_PROMPT_MODEL, load_prompt_model

    name, weights = options["model"] or DEFAULT_PROMPT_MODEL, options["weights"]
    model = load_prompt_model(name, weights, options["device"], settings=settings)
    text = _NOTES.get("mini" if model.name.endswith("-mini") or name == "mini" else name)
    if text is not None and weights is None:
        note(f"note: {text}")
    return model


def _found(
    model: PromptModel, image: Image, prompts: list[Prompt], options: dict[str, Any], limit: Any
) -> list[tuple[int, Candidate]]:
    """Number of the object, from 1, and its masks."""
    from locara_label.despeckle import despeckle
    from locara_label.models.base import Clock
    from locara_label.models.everything import Options, everything
    from locara_label.types import Candidate

    clock = Clock(limit)
    embedding = model.encode(image, clock.left)
    if not prompts:
        grid = options["grid"] or (_CLASSIC_GRID if model.name == "classic" else Options().points_per_side)
        found = everything(model, embedding, Options(points_per_side=grid, min_area=options["min_area"]), clock.left)
        return list(enumerate(found, 1))
    answers = model.decode_many(embedding, prompts, clock.left)
    return [
        (number, Candidate(despeckle(found.mask, options["min_area"]), found.score))
        for number, answer in enumerate(answers, 1)
        for found in answer
    ]


def _to_json(number: int, candidate: Candidate) -> dict[str, Any]:
    found = candidate.mask
    return {
        "object": number,
        "score": round(float(candidate.score), 6),
        "area": found.area,
        "bbox": list(found.box.xywh),
        "segmentation": found.to_coco(),
    }


def _write(out: Path, stem: str, image: Image, found: list[tuple[int, Candidate]], result: dict[str, Any]) -> list[Path]:
    """Writes what `--out` asks for and gives the paths."""
    kind = out.suffix.lower() if not out.is_dir() else ""
    if kind == ".png":
        return [_overlay(out, image, found)]
    if kind == ".json":
        return [_json_file(out, result)]
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadOption(f"--out {out} cannot be made: {error.strerror}", code="option.out") from error
    masks = [_mask_file(out / f"{stem}.mask-{number}.png", candidate) for number, (_, candidate) in enumerate(found, 1)]
    return [_overlay(out / f"{stem}.overlay.png", image, found), _json_file(out / f"{stem}.json", result), *masks]


def _overlay(path: Path, image: Image, found: list[tuple[int, Candidate]]) -> Path:
    from locara_label import overlay
    from locara_label.types import Instance

    drawn = [Instance(str(number), number, candidate.score, candidate.mask) for number, candidate in found]
    write_picture(path, overlay.draw(image, drawn))
    return path


def _mask_file(path: Path, candidate: Candidate) -> Path:
    import numpy as np

    write_picture(path, np.where(candidate.mask.to_array(), np.uint8(255), np.uint8(0)))
    return path


def _json_file(path: Path, result: dict[str, Any]) -> Path:
    from locara_label.atomic import atomic_file

    text = json.dumps(result, ensure_ascii=False, allow_nan=False, indent=1)
    try:
        with atomic_file(path) as file:
            file.write(text.encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise BadOption(f"{path} cannot be written: {error.strerror or error}", code="option.out") from error
    return path


def _lines(result: dict[str, Any]) -> list[str]:
    return region_lines(result["file"], ((f"object {found['object']}", found) for found in result["masks"]))
