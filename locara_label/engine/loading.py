"""Name to model: catalogue row, weights on this machine, session."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from locara_label import settings as environment
from locara_label.engine.sources import Opener, Published, Source, Weightless, open_here
from locara_label.errors import BadOption, BadWeights, LocaraError, NotDownloaded
from locara_label.models import registry
from locara_label.models.base import PromptModel, SegmentationModel, TextModel, VideoModel
from locara_label.models.sam2_video import Sam2Video, Sessions
from locara_label.models.sam2_video_published import PublishedSam2Video
from locara_label.models.video_memory import Rules
from locara_label.models.wordpiece import Tokenizer
from locara_label.runtime.optimised import Cache
from locara_label.runtime.session import Options
from locara_label.settings import Settings
from locara_label.weights import catalogue
from locara_label.weights.catalogue import Row

PROMPT_TASK, TEXT_TASK, VIDEO_TASK = "prompt", "text", "video"
MINI = {
    "panoptic": "mask2former-mini",
    "instance": "mask2former-mini",
    "semantic": "segformer-mini",
    PROMPT_TASK: "sam2-mini",
    TEXT_TASK: "grounding-dino-mini",
}
DEFAULT_PROMPT_MODEL = CLASSIC = "classic"
DEFAULT_TEXT_MODEL = MINI[TEXT_TASK]
KINDS = {
    PROMPT_TASK: ("answers points, boxes and masks", "load_prompt_model"),
    TEXT_TASK: ("answers text", "load_text_model"),
    VIDEO_TASK: ("only follows objects through video", "load_video_model"),
}
"""By task, what a model does that is no segmentation model, and what loads it."""
MAX_JSON = 4 << 20

Model = TypeVar("Model")


def find_row(name: str, task: str | None = None) -> Row:
    """The catalogue row of a name; "mini" is the shipped model for a task (panoptic, where none is named).

    Raises:
        UnknownModel: no such name.
        BadOption: there is no mini model for the task, or the task is not the model's.
    """
    if name == "mini":
        if (task or "panoptic") not in MINI:
            raise BadOption(f"there is no mini model for the task {task!r}; there are {', '.join(MINI)}", code="option.task")
        return catalogue.find(MINI[task or "panoptic"])
    row = catalogue.find(name)
    if task is not None and task != row.task:
        raise BadOption(f"{name} is a {row.task} model, not {task}", code="option.task")
    return row


def is_prompt_model(name: str) -> bool:
    """Whether `load_prompt_model` loads what has this name and `load` does not; "mini" names one of each kind and is none.

    Raises:
        UnknownModel: no such name.
    """
    return name == CLASSIC or (name != "mini" and catalogue.find(name).task == PROMPT_TASK)


def is_text_model(name: str) -> bool:
    """Whether `load_text_model` loads what has this name; see `is_prompt_model`.

    Raises:
        UnknownModel: no such name.
    """
    return name not in {CLASSIC, "mini"} and catalogue.find(name).task == TEXT_TASK


def load(
    name: str,
    weights: str | Path | None = None,
    device: str | None = None,
    *,
    task: str | None = None,
    settings: Settings | None = None,
    at_a_time: int = 1,
    opener: Opener = open_here,
) -> SegmentationModel:
    """Loads a model.

    Args:
        name: a catalogue name (`locara-label models list`), or "mini" for the small model that ships with the package.
        weights: a local folder in the hub's layout (weights, config.json, preprocessor_config.json); None takes what
            `locara-label models pull` has fetched. Nothing is ever downloaded here.
        device: "auto", "cpu" or "cuda"; None takes the setting.
        task: which mini model: "panoptic" (the default) or "semantic".
        settings: None reads them from the environment.
        at_a_time: how many calls of the model will run at once; they share the cores, and no thread waits busily.
        opener: makes the model's sessions, in this process or in another one.

    Raises:
        UnknownModel, NotDownloaded, BadWeights, BadOption: the name, the files or the arguments are wrong.
        MissingRuntime, DeviceUnavailable: there is no ONNX Runtime, or not for this device.
    """
    row = _row_of_kind(name, None, task)
    settings = settings or environment.load()
    options = _options(settings, device, at_a_time)
    return _reported(row, weights, settings, lambda folder: _assemble(row, folder, options, opener))


def load_prompt_model(
    name: str,
    weights: str | Path | None = None,
    device: str | None = None,
    *,
    settings: Settings | None = None,
    opener: Opener = open_here,
) -> PromptModel:
    """Loads a model that answers points, boxes and masks.

    Args:
        name: a catalogue name of the task "prompt", "mini" for the small SAM 2 that ships with the package, or "classic" for
            OpenCV's GrabCut, which needs no weights.
        weights: as in `load`.
        device: as in `load`.
        settings: as in `load`.
        opener: as in `load`.

    Raises:
        UnknownModel, NotDownloaded, BadWeights, BadOption, MissingRuntime, DeviceUnavailable: as in `load`.
    """
    if name == CLASSIC:
        from locara_label.models.classic import Classic

        return Classic()
    row = _row_of_kind(name, PROMPT_TASK)
    settings = settings or environment.load()
    # Encoder and decoder alternate: threads of the one that wait busily would take the cores from the other.
    options = replace(_options(settings, device, 1), spinning=False)
    return _reported(row, weights, settings, lambda folder: _assemble_prompt_model(row, folder, options, opener))


def load_text_model(
    name: str,
    weights: str | Path | None = None,
    device: str | None = None,
    *,
    settings: Settings | None = None,
    opener: Opener = open_here,
) -> TextModel:
    """Loads a model that answers text.

    Args:
        name: a catalogue name of the task "text", or "mini" for the small Grounding DINO that ships with the package.
        weights: as in `load`.
        device: as in `load`.
        settings: as in `load`.
        opener: as in `load`.

    Raises:
        UnknownModel, NotDownloaded, BadWeights, BadOption, MissingRuntime, DeviceUnavailable: as in `load`.
    """
    row = _row_of_kind(name, TEXT_TASK)
    settings = settings or environment.load()
    options = replace(_options(settings, device, 1), spinning=False)  # graphs alternate, as those of a prompt model do
    return _reported(row, weights, settings, lambda folder: _assemble_text_model(row, folder, options, opener))


def load_video_model(
    name: str,
    weights: str | Path | None = None,
    device: str | None = None,
    *,
    settings: Settings | None = None,
    rules: Rules | None = None,
    opener: Opener = open_here,
) -> VideoModel:
    """Loads a model that follows objects through video.

    Args:
        name: a catalogue name of the task "prompt", with official weights, or of the task "video", or "classic", which needs no
            weights.
        weights: as in `load`.
        device: as in `load`.
        settings: as in `load`.
        opener: as in `load`.
        rules: what of the past counts for a SAM 2; None takes ours.

    Raises:
        UnknownModel, NotDownloaded, BadWeights, BadOption, MissingRuntime, DeviceUnavailable: as in `load`.
    """
    if name == CLASSIC:
        from locara_label.models.classic_video import ClassicVideo

        return ClassicVideo()
    row = _row_of_kind(name, VIDEO_TASK if name != "mini" and find_row(name).task == VIDEO_TASK else PROMPT_TASK)
    if row.graph is None and row.task != VIDEO_TASK:
        raise BadOption(f"{name} has no memory: its published files answer prompts on single pictures only", code="option.model")
    settings = settings or environment.load()
    options = replace(_options(settings, device, 1), spinning=False)
    return _reported(row, weights, settings, lambda folder: _assemble_video_model(row, folder, options, rules, opener))


def _row_of_kind(name: str, kind: str | None, task: str | None = None) -> Row:
    """The row of a model of one of `KINDS`, or None for the segmentation models.

    Raises:
        UnknownModel, BadOption: there is none, or it is of another kind.
    """
    row = find_row(name, task if kind is None else kind) if name == "mini" else None
    found = PROMPT_TASK if name == CLASSIC else (row or find_row(name, task)).task
    if (found if found in KINDS else None) != kind:
        what, function = KINDS.get(found, ("finds regions without prompts", "load"))
        raise BadOption(
            f"{name} is a model that {what}; `{function}` of locara_label.engine.loading loads it", code="option.model"
        )
    return row or find_row(name, task)


def _reported(row: Row, weights: str | Path | None, settings: Settings, assemble: Callable[[Path], Model]) -> Model:
    """Assembles a model from its folder and keeps the store's states up to date."""
    store = settings.store()
    store.states.loading(row.name)
    try:
        model = assemble(store.folder(row) if weights is None else _local_folder(weights))
    except LocaraError as error:
        store.states.failed(row.name, error)
        raise
    store.states.ready(row.name)
    return model


def _local_folder(weights: str | Path) -> Path:
    folder = Path(weights)
    if not folder.is_dir():
        raise NotDownloaded(f"{folder} is not a folder of weights")
    return folder


def _options(settings: Settings, device: str | None, at_a_time: int) -> Options:
    shared = max((os.cpu_count() or 1) // at_a_time, 1) if at_a_time > 1 else 0
    cache = Cache(settings.cache_dir / "sessions")
    return Options(device or settings.device, settings.threads or shared, spinning=at_a_time == 1, cache=cache)


def _assemble(row: Row, folder: Path, options: Options, opener: Opener) -> SegmentationModel:
    config, preprocessor = (_read_json(folder / name) for name in ("config.json", "preprocessor_config.json"))
    source = Published((folder / row.onnx,)) if row.onnx else Weightless((_graph_name(row, config),), folder)
    (session,), _ = opener(source, options)
    preprocessor = preprocessor or _published_default(row)
    known = catalogue.labels(row.labels) if row.labels else ()
    return registry.build(row.family, registry.Parts(row.name, row.task, session, config, preprocessor, known))


def _assemble_prompt_model(row: Row, folder: Path, options: Options, opener: Opener) -> PromptModel:
    config, preprocessor = (_read_json(folder / name) for name in ("config.json", "preprocessor_config.json"))
    (encoder, decoder), digest = opener(_source(row, folder), options)
    identity = f"{row.name}@{digest[:16]}"
    parts = registry.PromptParts(row.name, identity, encoder, decoder, config, preprocessor, row.onnx_decoder)
    return registry.build_prompt_model(row.family, parts)


def _assemble_video_model(row: Row, folder: Path, options: Options, rules: Rules | None, opener: Opener) -> VideoModel:
    if row.onnx is not None:
        return _assemble_published_video_model(row, folder, options, rules, opener)
    config, preprocessor = (_read_json(folder / name) for name in ("config.json", "preprocessor_config.json"))
    graphs = tuple(f"{row.graph}-{part}" for part in catalogue.VIDEO_PARTS)
    sessions, digest = opener(Weightless(graphs, folder), options)
    return Sam2Video(row.name, f"{row.name}@{digest[:16]}", Sessions(*sessions), config, preprocessor, rules=rules)


def _assemble_published_video_model(
    row: Row, folder: Path, options: Options, rules: Rules | None, opener: Opener
) -> PublishedSam2Video:
    parts = catalogue.PUBLISHED_VIDEO_PARTS
    files = tuple(folder / Path(str(row.onnx)).with_name(f"{part}.onnx") for part in parts)
    opened, digest = opener(Published(files), options)
    sessions = dict(zip(parts, opened, strict=True))
    constants = _read_json(folder / "constants.json")
    return PublishedSam2Video(row.name, f"{row.name}@{digest[:16]}", sessions, constants, rules=rules)


def _assemble_text_model(row: Row, folder: Path, options: Options, opener: Opener) -> TextModel:
    config, preprocessor = (_read_json(folder / name) for name in ("config.json", "preprocessor_config.json"))
    sessions, digest = opener(_source(row, folder), options)
    tokenizer = Tokenizer.open(folder)
    parts = registry.TextParts(row.name, f"{row.name}@{digest[:16]}", sessions, tokenizer, config, preprocessor)
    return registry.build_text_model(row.family, parts)


def _source(row: Row, folder: Path) -> Source:
    files = tuple(folder / path for path in (row.onnx, row.onnx_decoder) if path)
    return Published(files) if files else Weightless(row.graphs, folder)


def _graph_name(row: Row, config: dict[str, Any]) -> str:
    """The graph of a row; those with object queries are made for a number of them, which the weights' own config knows best."""
    if row.graph is None:
        raise BadWeights(f"the catalogue names no graph for {row.name}", code="weights.graph")
    if row.queries is None:
        return row.graph
    queries = config.get("num_queries", row.queries)
    if not isinstance(queries, int):
        raise BadWeights(f"num_queries of the config is {queries!r}, not a number", code="weights.config")
    return f"{row.graph}-q{queries}"


def _published_default(row: Row) -> dict[str, Any]:
    """What stands in for a missing preprocessor_config.json: a plain resize to the size that the model was published for."""
    return {"size": dict(zip(("height", "width"), row.input_size, strict=True))} if row.input_size else {}


def _read_json(path: Path) -> dict[str, Any]:
    """A published configuration; one that is missing is empty."""
    if not path.is_file():
        return {}
    if path.stat().st_size > MAX_JSON:
        raise BadWeights(f"{path} is larger than {MAX_JSON >> 20} MiB", code="weights.config")
    try:
        content = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise BadWeights(f"{path} is not JSON: {error}", code="weights.config") from error
    if not isinstance(content, dict):
        raise BadWeights(f"{path} is not a JSON object", code="weights.config")
    return content
