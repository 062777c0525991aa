"""Our models as a source of FiftyOne's model zoo, so that `foz.load_zoo_model("locara/...")` and every plugin find them.

The zoo keeps one small file for each model that was downloaded; the weights are in our own store, with their licences.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from locara_label import __version__
from locara_label.atomic import atomic_file
from locara_label.engine.grounding import GROUNDED_SAM2, is_grounded, pair
from locara_label.engine.loading import CLASSIC, PROMPT_TASK, TEXT_TASK
from locara_label.settings import load as load_settings
from locara_label.weights import catalogue
from locara_label.weights.catalogue import Row

if TYPE_CHECKING:
    import fiftyone.core.models as fom
    from fiftyone.operators import types

OWNER = "locara/"
VIDEO = "-video"
"""What the name of a model that follows objects ends with."""
SOURCE = "locara-label"
"""Name of the source, and of its folder in the zoo."""
_FREE = {
    CLASSIC: "Masks from clicks and boxes by OpenCV's GrabCut; needs no weights",
    GROUNDED_SAM2: "Masks from words by the models that need no download",
}
_WHAT = {
    "semantic": "Label maps",
    "instance": "Instance masks",
    "panoptic": "Panoptic segments",
    PROMPT_TASK: "Masks from clicks and boxes",
    TEXT_TASK: "Masks from words",
}


def manifest() -> dict[str, Any]:
    """The content of `manifest.json`: every model of the catalogue that labels pictures or videos."""
    return {"name": SOURCE, "models": list(_models())}


def _models() -> Iterator[dict[str, Any]]:
    for row in catalogue.rows():
        if row.task in _WHAT:
            yield _entry(row.name, f"{_WHAT[row.task]} by {row.name}", _tags(row), row.licence.name, row.about_bytes)
            if row.task == PROMPT_TASK and row.graph is not None:
                text = f"Masklets through video by {row.name}"
                yield _entry(row.name + VIDEO, text, ["video", *_tags(row)], row.licence.name, row.about_bytes)
    for name, text in _FREE.items():
        yield _entry(name, text, ["segmentation", "zero-shot"], "Apache License 2.0", None)
    yield _entry(CLASSIC + VIDEO, "Masklets through video by optical flow", ["video", "segmentation"], "Apache License 2.0", None)


def _tags(row: Row) -> list[str]:
    kind = {"semantic": ["semantic-segmentation"], PROMPT_TASK: ["zero-shot", "embeddings"], TEXT_TASK: ["zero-shot"]}
    return ["segmentation", *kind.get(row.task, ["instances"]), row.family, "onnx", *(["mini"] if row.bundled else [])]


def _entry(name: str, text: str, tags: list[str], licence: str, size: int | None) -> dict[str, Any]:
    return {
        "base_name": OWNER + name,
        "base_filename": f"{name}.json",
        "version": None,
        "description": text,
        "author": "Locara",
        "license": licence,
        "size_bytes": size,
        "default_deployment_config_dict": None,
        "requirements": {"packages": ["locara-label"], "cpu": {"support": True}, "gpu": {"support": True}},
        "tags": tags,
    }


def write_manifest(folder: Path) -> Path:
    """Writes `manifest.json` into the folder of the source."""
    path = folder / "manifest.json"
    with atomic_file(path) as file:
        file.write(json.dumps(manifest(), indent=1).encode("ascii") + b"\n")
    return path


def download_model(model_name: str, model_path: str) -> None:
    """Fetches what a model needs into our store, and tells the zoo with a small file at `model_path`.

    Raises:
        LicenceNotAccepted: the weights have terms to agree to first; the message has the command that does.
        UnknownModel, DownloadFailed: see `Store.pull`.
    """
    store = load_settings().store()
    rows = rows_of(model_name)
    for row in rows:
        store.pull(row)
    facts = {"model": model_name, "locara_label": __version__, "licences": [row.licence.name for row in rows]}
    with atomic_file(Path(model_path)) as file:
        file.write(json.dumps(facts, indent=1).encode() + b"\n")


def load_model(model_name: str, model_path: str, **options: Any) -> fom.Model:  # noqa: ARG001 - the zoo's signature
    """A model for `apply_model`; see `factory.model` for the options, `prompt` or `classes` among them for words.

    Raises:
        UnknownModel, NotDownloaded, BadWeights, BadOption, MissingRuntime: see `factory.model`.
    """
    from locara_label.hosts.fiftyone.factory import model

    name = bare_name(model_name)
    if name.endswith(VIDEO):
        return model(name.removesuffix(VIDEO), media_type="video", **options)
    return model(name, **options)


def bare_name(model_name: str) -> str:
    """A name without "locara/" and "@version"."""
    return model_name.removeprefix(OWNER).partition("@")[0]


def rows_of(model_name: str) -> list[Row]:
    """What has to be downloaded for a model; nothing for what needs no weights.

    Raises:
        UnknownModel: there is no such model.
    """
    name = bare_name(model_name).removesuffix(VIDEO)
    if name == CLASSIC:
        return []
    names = [one for one in pair(name) if one != CLASSIC] if is_grounded(name) else [name]
    return [catalogue.find(one) for one in names]


def resolve_input(model_name: str, ctx: Any) -> types.Property | None:  # noqa: ARG001 - the zoo's signature
    """The form of a model's options, for operators that offer the zoo; None for a model that has none."""
    from fiftyone.operators import types

    inputs = types.Object()
    name = bare_name(model_name)
    if name.endswith(VIDEO):
        inputs.enum("direction", ["both", "forward", "backward"], default="both", label="Direction")
        inputs.int("max_frames", default=150, min=1, label="Frames in each direction")
    elif _task(name) == TEXT_TASK:
        inputs.str("prompt", label="Words to look for", description="with dots between them: red car . person", required=True)
        inputs.float("threshold", min=0, max=1, label="Least score of a box")
    elif _task(name) == PROMPT_TASK:
        return None
    else:
        inputs.float("threshold", min=0, max=1, label="Least score")
        inputs.enum("output", ["detections", "segmentation"], default="detections", label="Output")
    return types.Property(inputs)


def _task(name: str) -> str:
    if is_grounded(name):
        return TEXT_TASK
    return PROMPT_TASK if name == CLASSIC else catalogue.find(name).task


def parse_parameters(model_name: str, ctx: Any, params: dict[str, Any]) -> None:  # noqa: ARG001 - the zoo's signature
    """Takes away what a form left empty, so that defaults apply."""
    for name in [name for name, value in params.items() if value in (None, "")]:
        del params[name]
