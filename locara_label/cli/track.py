"""`locara-label track`: boxes, clicks and words on frames of a video to masklets."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import click

from locara_label.cli.mask import Numbers
from locara_label.cli.output import emit, json_option, note
from locara_label.errors import BadOption, BadPrompt

if TYPE_CHECKING:
    from locara_label.engine.tracking import Session
    from locara_label.models.base import Image
    from locara_label.types import Prompt, TextPrompt

_MASKLETS, _OVERLAY = "masklets.json", "overlay.mp4"


@dataclass(frozen=True)
class _Mark:
    """Numbers on a frame; `number` is the object's, None for a new one."""

    number: int | None
    frame: int
    values: tuple[float, ...]


class _MarkType(click.ParamType[_Mark]):
    """`[OBJECT@]FRAME:NUMBERS`."""

    def __init__(self, numbers: str) -> None:
        self.name, self._numbers = f"[object@]frame:{numbers}", Numbers(numbers)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> _Mark:
        if isinstance(value, _Mark):
            return value
        found = re.fullmatch(r"(?:(\d{1,9})@)?(\d{1,9}):(.*)", str(value), re.ASCII)
        if found is None:
            self.fail(f"{value!r} is not {self.name}", param, ctx)
        number = None if found[1] is None else int(found[1])
        return _Mark(number, int(found[2]), self._numbers.convert(found[3], param, ctx))


@dataclass
class _Shown:
    """What shows one object on one frame."""

    points: list[tuple[float, ...]] = field(default_factory=list)
    not_points: list[tuple[float, ...]] = field(default_factory=list)
    box: tuple[float, ...] | None = None


@click.command()
@click.argument("source", metavar="VIDEO")
@click.option("--box", "boxes", type=_MarkType("x0,y0,x1,y1"), multiple=True, help="Around an object on a frame; repeatable.")
@click.option("--point", "on", type=_MarkType("x,y"), multiple=True, help="A click on an object; repeatable.")
@click.option("--not", "off", type=_MarkType("x,y"), multiple=True, help="A click off it, as OBJECT@FRAME:X,Y; repeatable.")
@click.option("--text", help="What to look for in words, phrases with dots between them: 'red car . person'.")
@click.option("--at", "text_frame", type=click.IntRange(min=0), default=0, show_default=True, help="Frame to look for it on.")
@click.option("--redetect", type=click.IntRange(min=1), help="Look for it again every so many frames. [default: never]")
@click.option("--text-model", help="A text model of `locara-label models list`. [default: grounding-dino-mini]")
@click.option("--box-threshold", type=click.FloatRange(0, 1), help="Least score of a box. [default: the text model's]")
@click.option("--text-threshold", type=click.FloatRange(0, 1), help="Least score of a word. [default: the text model's]")
@click.option("--label", "labels", multiple=True, help="Of the objects of marks in their order. [default: object]")
@click.option("--direction", type=click.Choice(["forward", "backward", "both"]), default="both", show_default=True)
@click.option("--frames", type=click.IntRange(min=1), help="Frames to go through in each direction. [default: all]")
@click.option("--stride", type=click.IntRange(min=1), default=1, show_default=True, help="2 leaves out every other frame.")
@click.option("--model", help="A prompt model of `locara-label models list` with a memory, or classic. [default: classic]")
@click.option("--weights", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Folder with the model's files.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="Where the model runs. [default: the setting, auto]")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder of the results.")
@click.option("--overlay/--no-overlay", default=True, show_default=True, help="Write overlay.mp4 too.")
@click.option("--progress/--no-progress", default=None, help="Show a progress bar; by default on a terminal only.")
@json_option
def track(source: str, out: Path, *, as_json: bool, **options: Any) -> None:
    """Masklets of the objects that boxes, clicks and words show in VIDEO, a file, a folder of pictures, or an https address.

    A mark is FRAME:X,Y or FRAME:X0,Y0,X1,Y1: frames count from 0, coordinates are pixels from the top left corner. Each mark
    shows a new object; 1@FRAME:... shows the first object again, to correct it. --text finds all objects of its phrases, whose
    labels are the phrases. Writes masklets.json (YouTube-VIS).
    """
    from locara_label.engine.fetched_video import open_reference
    from locara_label.engine.loading import DEFAULT_TEXT_MODEL, load_text_model, load_video_model
    from locara_label.engine.tracking import DEFAULT_VIDEO_MODEL, Session
    from locara_label.settings import load

    prompts, sought = _prompts(options), _sought(options)
    if not prompts and sought is None:
        raise BadOption("give --box, --point or --text", code="option.prompt")
    _make(out)
    settings = load()
    name = options["model"] or DEFAULT_VIDEO_MODEL
    model = load_video_model(name, options["weights"], options["device"], settings=settings)
    text_name = options["text_model"] or DEFAULT_TEXT_MODEL
    text_model = text_name if sought is None else load_text_model(text_name, None, options["device"], settings=settings)
    began_s = time.monotonic()
    with Session(open_reference(source), model, text_model) as session:
        for (number, frame), prompt in prompts.items():
            session.prompt(frame, number, prompt)
        if sought is not None:
            session.prompt(options["text_frame"], text=sought)
            _check_found(session, options, again=options["redetect"] is not None)
        _propagate(session, options)
        _check_found(session, options)
        seconds = time.monotonic() - began_s
        files = _write(session, _name(source), out, options)
        result = _result(session, source, files, seconds, None if sought is None else text_name)
    emit(result, _lines(result), as_json=as_json)


def _prompts(options: dict[str, Any]) -> dict[tuple[int, int], Prompt]:
    """Prompts by object and frame, objects numbered from 1 as they come."""
    from locara_label.types import Box, Point, Prompt

    shown: dict[tuple[int, int], _Shown] = {}
    fresh = 1 + max((mark.number for mark in (*options["boxes"], *options["on"]) if mark.number is not None), default=0)
    for kind in ("boxes", "on", "off"):
        for mark in options[kind]:
            if mark.number is None and kind == "off":
                raise BadOption("--not corrects an object: give it as OBJECT@FRAME:X,Y", code="option.prompt")
            number = fresh if mark.number is None else mark.number
            fresh += mark.number is None
            _add(shown.setdefault((number, mark.frame), _Shown()), kind, mark.values)
    return {
        key: Prompt(
            (*(Point(x, y) for x, y in one.points), *(Point(x, y, positive=False) for x, y in one.not_points)),
            None if one.box is None else Box(*one.box),
        )
        for key, one in shown.items()
    }


def _sought(options: dict[str, Any]) -> TextPrompt | None:
    from locara_label.types import TextPrompt

    if options["text"] is not None:
        return TextPrompt.of(options["text"], options["box_threshold"], options["text_threshold"])
    alone = [name for name in ("redetect", "text_model", "box_threshold", "text_threshold") if options[name] is not None]
    if alone:
        raise BadOption(f"--{alone[0].replace('_', '-')} needs --text", code="option.prompt")
    return None


def _check_found(session: Session, options: dict[str, Any], *, again: bool = False) -> None:
    """Raises BadPrompt where a text found nothing, and is not to be asked again."""
    if not session.tracks and not again:
        where = f"on frame {options['text_frame']}" + (", nor on later ones" if options["redetect"] else "")
        raise BadPrompt(f"nothing was found for {options['text']!r:.200} {where}", code="prompt.nothing_found")


def _name(source: str) -> str:
    """Of the video, without its folder and ending."""
    from locara_label.engine.fetched_video import is_address

    path = unquote(urlsplit(source).path) if is_address(source) else Path(source).absolute().as_posix()
    return PurePosixPath(path).stem or "video"


def _add(shown: _Shown, kind: str, values: tuple[float, ...]) -> None:
    if kind == "boxes":
        if shown.box is not None:
            raise BadOption("an object has one box on a frame", code="option.prompt")
        shown.box = values
    else:
        (shown.points if kind == "on" else shown.not_points).append(values)


def _make(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadOption(f"--out {out} cannot be made: {error.strerror}", code="option.out") from error


def _propagate(session: Session, options: dict[str, Any]) -> None:
    from tqdm import tqdm

    shown = sys.stderr.isatty() if options["progress"] is None else options["progress"]
    most = options["frames"] or session.video.count
    steps = session.propagate(options["direction"], None, most, options["stride"], redetect=options["redetect"])
    for _ in tqdm(steps, unit="frames", file=sys.stderr, disable=not shown, dynamic_ncols=True):
        pass
    if session.video.damaged:
        note(f"note: {session.video.damaged}")


def _labels(session: Session, given: Sequence[str]) -> dict[int, str]:
    """By object: the phrase that found it, or the next one given."""
    rest = iter(given)
    return {number: track.label or next(rest, "object") for number, track in session.tracks.items()}


def _write(session: Session, name: str, out: Path, options: dict[str, Any]) -> list[Path]:
    from locara_label.datasets.records import Category
    from locara_label.datasets.tracked import masklets
    from locara_label.datasets.youtube_vis import YoutubeVisWriter

    labels = _labels(session, options["labels"])
    categories = {label: Category(at, label) for at, label in enumerate(dict.fromkeys(labels.values()), 1)}
    by_object = {number: categories[label] for number, label in labels.items()}
    path = out / _MASKLETS
    with YoutubeVisWriter(path, list(categories.values())) as writer:
        writer.add(masklets(session, name, by_object))
    return [path, *([_overlay(session, out / _OVERLAY)] if options["overlay"] else [])]


def _overlay(session: Session, path: Path) -> Path:
    from locara_label.video.writing import write_video

    write_video(path, _drawn(session), session.video.rate)
    return path


def _drawn(session: Session) -> Iterator[Image]:
    from locara_label import overlay
    from locara_label.types import Instance

    for frame, picture in enumerate(session.video.frames()):
        found = {number: track.found[frame] for number, track in session.tracks.items() if frame in track.found}
        yield overlay.draw(
            picture, [Instance(str(number), number, 1.0, one.mask) for number, one in found.items() if one.present]
        )


def _result(session: Session, source: str, files: list[Path], seconds: float, texts: str | None) -> dict[str, Any]:
    visited = {frame for track in session.tracks.values() for frame in track.found}
    return {
        "file": source,
        "model": f"{texts}+{session.model.name}" if texts else session.model.name,
        "frames": session.video.count,
        "tracked": len(visited),
        "objects": [
            {
                "object": number,
                "label": track.label,
                "present": sum(one.present for one in track.found.values()),
                "found": len(track.found),
            }
            for number, track in session.tracks.items()
        ],
        "seconds": round(seconds, 3),
        "files": [str(path) for path in files],
    }


def _lines(result: dict[str, Any]) -> list[str]:
    speed = result["tracked"] / max(result["seconds"], 1e-9)
    lines = [f"{result['file']}: {result['tracked']} of {result['frames']} frames by {result['model']}, {speed:.1f} a second"]
    for one in result["objects"]:
        label = f" ({one['label']})" if one["label"] else ""
        lines.append(f"  object {one['object']}{label}: in sight on {one['present']} of {one['found']} frames")
    return [*lines, *(f"wrote {path}" for path in result["files"])]
