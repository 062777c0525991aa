"""`locara-label cutout`: a picture without its background."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from locara_label.cli.output import MINI, emit, json_option, note, write_picture
from locara_label.errors import BadImage, BadOption

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from locara_label.models.base import Image, Limit, SegmentationModel
    from locara_label.settings import Settings
    from locara_label.types import Mask

PERSON_MODEL = "mediapipe_selfie_segmentation"
_NOTE = f"{MINI}for people run `locara-label models pull {PERSON_MODEL}`, which is then the default of this command"


@click.command()
@click.argument("source", metavar="IN", type=click.Path(path_type=Path))
@click.argument("out", metavar="OUT.png", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--model", help=f"A name of `locara-label models list`. [default: {PERSON_MODEL} if it is here, else mini]")
@click.option("--feather", type=click.FloatRange(0, 1000), default=0, help="Width of the soft edge in pixels.")
@click.option("--invert", is_flag=True, help="Cut the foreground away and keep the background.")
@click.option(
    "--weights", type=click.Path(exists=True, file_okay=False, path_type=Path),
    help=f"Folder with the model's files; without --model those of {PERSON_MODEL}.",
)  # fmt: skip
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="Where the model runs. [default: the setting, auto]")
@json_option
def cutout(source: Path, out: Path, *, as_json: bool, **options: Any) -> None:
    """Remove the background of the picture IN: a PNG with transparency.

    The foreground is the person, or with other models every countable thing. Finding none is an error; nothing is written then.
    """
    from locara_label import images, overlay
    from locara_label.models.base import Limit
    from locara_label.settings import load

    _check_out(source, out)
    settings = load()
    image = images.read(source, images.Limits(settings.max_image_bytes, settings.max_pixels))
    model = _model(options, settings)
    found = _foreground(model, image, Limit(deadline_s=settings.deadline_s))
    if found is None:
        raise BadImage(f"{model.name} finds nothing to cut out of {source}", code="image.no_foreground")
    picture = overlay.cutout(image, found, options["feather"], options["invert"])
    if not picture[..., 3].any():
        raise BadImage(f"nothing of {source} is left: {model.name} takes all of it for foreground", code="image.no_foreground")
    write_picture(out, picture)
    result = {"file": str(source), "out": str(out), "model": model.name, "width": image.shape[1], "height": image.shape[0]}
    kept = float(picture[..., 3].mean() / 255)
    emit({**result, "kept": round(kept, 6)}, [f"{out}: {kept:.1%} of {source} is kept, by {model.name}"], as_json=as_json)


def _check_out(source: Path, out: Path) -> None:
    if out.suffix.lower() != ".png" or not out.absolute().parent.is_dir():
        raise BadOption(f"OUT names a .png file in a folder that is there, got {out}", code="option.out")
    if out.exists() and source.exists() and out.samefile(source):
        raise BadOption(f"OUT is the picture itself, {source}", code="option.out")


def _model(options: dict[str, Any], settings: Settings) -> SegmentationModel:
    from locara_label.engine.loading import find_row, load

    weights = options["weights"]
    name = options["model"] or _default(settings, weights)
    model = load(name, weights, options["device"], settings=settings)
    if find_row(name).bundled is not None and weights is None:
        note(f"note: {_NOTE}")
    return model


def _default(settings: Settings, weights: Path | None) -> str:
    from locara_label.weights import catalogue

    is_here = weights is not None or settings.store().is_downloaded(catalogue.find(PERSON_MODEL))
    return PERSON_MODEL if is_here else "mini"


def _foreground(model: SegmentationModel, image: Image, limit: Limit) -> NDArray[np.float32] | Mask | None:
    """The soft alpha of a person model, the union of the things of another, or None where there is nothing."""
    from locara_label.models.selfie import DEFAULT_THRESHOLD, Selfie

    if isinstance(model, Selfie):
        alpha = model.alpha(image, limit)
        return alpha if (alpha >= DEFAULT_THRESHOLD).any() else None
    things = [found.mask for found in model.segment(image, limit=limit) if not found.is_stuff]
    return things[0].union(*things[1:]) if things else None
