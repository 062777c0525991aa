"""Name to model: catalogue row, weights on this machine, session."""

from __future__ import annotations

import json
import os
from hashlib import sha256
from pathlib import Path
from typing import Any

from locara_label import settings as environment
from locara_label.errors import BadOption, BadWeights, LocaraError, NotDownloaded
from locara_label.models import registry
from locara_label.models.base import SegmentationModel
from locara_label.runtime.optimised import Cache
from locara_label.runtime.session import Options, Session, open_session
from locara_label.runtime.skeleton import bind, open_skeleton
from locara_label.settings import Settings
from locara_label.weights import catalogue
from locara_label.weights.catalogue import Row
from locara_label.weights.tensors import open_tensors

MINI = {"panoptic": "mask2former-mini", "instance": "mask2former-mini", "semantic": "segformer-mini"}
MAX_JSON = 4 << 20
MAX_ONNX = 2 << 30


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


def load(
    name: str,
    weights: str | Path | None = None,
    device: str | None = None,
    *,
    task: str | None = None,
    settings: Settings | None = None,
    at_a_time: int = 1,
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

    Raises:
        UnknownModel, NotDownloaded, BadWeights, BadOption: the name, the files or the arguments are wrong.
        MissingRuntime, DeviceUnavailable: there is no ONNX Runtime, or not for this device.
    """
    settings = settings or environment.load()
    row = find_row(name, task)
    store = settings.store()
    store.states.loading(row.name)
    try:
        folder = store.folder(row) if weights is None else _local_folder(weights)
        model = _assemble(row, folder, _options(settings, device, at_a_time))
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


def _assemble(row: Row, folder: Path, options: Options) -> SegmentationModel:
    config, preprocessor = (_read_json(folder / name) for name in ("config.json", "preprocessor_config.json"))
    session = _open(row, folder, config, options)
    preprocessor = preprocessor or _published_default(row)
    known = catalogue.labels(row.labels) if row.labels else ()
    return registry.build(row.family, registry.Parts(row.name, row.task, session, config, preprocessor, known))


def _open(row: Row, folder: Path, config: dict[str, Any], options: Options) -> Session:
    return _published_onnx(folder / row.onnx, options) if row.onnx else _weightless(_graph_name(row, config), folder, options)


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


def _weightless(graph: str, folder: Path, options: Options) -> Session:
    skeleton, tensors = open_skeleton(graph), open_tensors(folder)
    identity = sha256(skeleton.graph + tensors.identity.encode()).hexdigest()
    return open_session(bind(skeleton, tensors), options, identity)


def _published_onnx(path: Path, options: Options) -> Session:
    if not path.is_file():
        raise NotDownloaded(f"{path} is not there")
    if path.stat().st_size > MAX_ONNX:
        raise BadWeights(f"{path} is larger than {MAX_ONNX >> 30} GiB", code="weights.too_large")
    content = path.read_bytes()
    return open_session(content, options, sha256(content).hexdigest())


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
