"""FiftyOne to Label Studio and back, masks exact to the pixel: the one module that knows both hosts.

Tasks travel as the JSON that Label Studio imports and exports. What Label Studio has no place for (`index`, `instance`, tags and
attributes of a detection) is in `meta.fiftyone` of a region, which survives its editor.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

import fiftyone as fo
import fiftyone.core.collections as foc
from bson import ObjectId

from locara_label.atomic import atomic_file
from locara_label.errors import BadDataset, BadOption, BadRequest, Cancelled, InputError, LocaraError
from locara_label.hosts.fiftyone import fields
from locara_label.hosts.fiftyone.exports import Labeled, Source
from locara_label.hosts.fiftyone.extras import as_float, from_extras, to_extras
from locara_label.hosts.fiftyone.imports import Target
from locara_label.hosts.fiftyone.labels import Region, to_detection
from locara_label.hosts.fiftyone.progress import Progress
from locara_label.hosts.fiftyone.samples import check_field, check_media, database, in_batches, size_of
from locara_label.hosts.fiftyone.work import record
from locara_label.hosts.label_studio import results
from locara_label.hosts.label_studio.config import LabelingConfig, Output, parse
from locara_label.hosts.label_studio.export_tasks import AnnotatedTask, Choice, FileTasks, LostTask
from locara_label.hosts.label_studio.regions import RegionMask, merge_groups, read_regions
from locara_label.hosts.label_studio.results import Picture
from locara_label.runtime.session import Stop

META = "fiftyone"
"""Key of a region's `meta`, and of a task's data, that holds what is FiftyOne's."""
LOCAL_FILES = "/data/local-files/?d="
"""What the address of a picture begins with that Label Studio reads from a folder of its own."""
_VERSION = "fiftyone"


@dataclass(frozen=True)
class _Form:
    """How tasks are written: where a labeling config has place for masks, addresses, and whether people are done with them."""

    config: LabelingConfig
    to_name: str
    key: str
    address: str
    kind: str

    @classmethod
    def of(cls, xml: str, address: str, *, finished: bool) -> _Form:
        """Raises BadOption or BadRequest for a config that is none, or shows no picture."""
        config = parse(xml)
        if not config.images:
            raise BadOption("the labeling config shows no picture: it has no <Image>", code="option.label_config")
        tag = config.images[0]
        return cls(config, tag.name, (tag.value or "").removeprefix("$"), address, "annotations" if finished else "predictions")

    def output(self, label: str) -> Output:
        """The control for masks of a label; else BadOption with code `option.label`."""
        found = self.config.output(self.to_name, label)
        if found is None or not found.may_have(label):
            raise BadOption(f"the labeling config has no mask control with the label {label!r:.120}", code="option.label")
        return found


def to_label_studio(
    view: foc.SampleCollection,
    label_field: str,
    path: Path | str,
    config: str,
    *,
    address: str = LOCAL_FILES,
    root: Path | str | None = None,
    finished: bool = False,
    stop: Stop | None = None,
) -> Iterator[Progress]:
    """Tasks for Label Studio's import, with the labels as predictions.

    Args:
        view: images.
        label_field: Detections with masks, or a Segmentation.
        path: of the JSON file, which appears whole when the last sample was written, or not at all.
        config: the project's labeling config, XML. Brushes and bitmasks show every mask exactly; polygons come close and have
            it in their `meta`.
        address: in front of a file's name, relative to the root, in a task's data.
        root: folder that file names are relative to; None takes the one that all files are in.
        finished: the labels are annotations instead of predictions.
        stop: cancels from another thread.

    Raises:
        BadOption, BadRequest: at once, for a config that is none or has no place for masks.
        Cancelled, RunError, OSError: on the way; there is no file then.
    """
    source, form = Source.of(view, label_field, root), _Form.of(config, address, finished=finished)
    return _tasks(source, form, Path(path), stop)


def _tasks(source: Source, form: _Form, path: Path, stop: Stop | None) -> Iterator[Progress]:
    with database():
        total = source.view.count()
    with atomic_file(path) as file:
        file.write(b"[")
        written = 0
        for number, sample in enumerate(in_batches(source.view, (source.field,)), 1):
            if stop is not None and stop.is_set:
                raise Cancelled(f"cancelled after {number - 1} of {total} samples; nothing is left of the export")
            step, task = _task(source, form, sample, (number, total))
            if task is not None:
                file.write((",\n" if written else "\n").encode() + json.dumps(task, allow_nan=False).encode())
                written += 1
            yield step
        file.write(b"\n]\n")


def _task(source: Source, form: _Form, sample: Any, place: tuple[int, int]) -> tuple[Progress, dict[str, Any] | None]:
    try:
        labeled = source.labeled(sample)
        regions, note = _regions(labeled, form)
        data = {form.key: form.address + quote(source.name_of(sample)), META: str(sample.id)}
    except InputError as error:
        return Progress(*place, str(sample.id), sample.filepath, 0, error), None
    answer = {"result": regions} if form.kind == "annotations" else results.prediction(regions, _VERSION)
    notes = "; ".join(text for text in (labeled.note, note) if text)
    return Progress(*place, str(sample.id), sample.filepath, len(labeled.regions), None, notes), {
        "data": data,
        form.kind: [answer],
    }


def _regions(labeled: Labeled, form: _Form) -> tuple[list[dict[str, Any]], str]:
    found: list[dict[str, Any]] = []
    lost: Counter[str] = Counter()
    for region in labeled.regions:
        extras, left = to_extras(region)
        lost.update(left)
        notes = {META: {**extras, "score": region.score}}
        where, output = Picture(form.to_name, labeled.size), form.output(region.label)
        found += results.mask_regions(
            region.mask, region.label, output, where, model_version=_VERSION, score=region.score, notes=notes
        )
    return found, f"attributes that JSON has no place for: {dict(lost)}" if lost else ""


def from_label_studio(
    dataset: fo.Dataset,
    tasks: Path | str | Iterable[AnnotatedTask | LostTask],
    label_field: str,
    *,
    root: Path | str,
    choice: Choice | None = None,
    stop: Stop | None = None,
) -> Iterator[Progress]:
    """Annotations of Label Studio as Detections.

    A task's sample is the one that it was made from, else the one of the file that it shows; a file below the root that has no
    sample yet gets one.

    Args:
        dataset: of images.
        tasks: a JSON export, or tasks as `ApiTasks` reads them from a running Label Studio.
        label_field: is replaced on the samples of annotated tasks; the others stay as they are.
        root: folder that file names are relative to.
        choice: which annotations of a task are meant; None takes the ground truth, else the newest.
        stop: cancels from another thread.

    Raises:
        BadOption: at once.
        Cancelled, RunError, BadDataset: on the way; what was read by then is saved.
    """
    check_media(dataset, "image")
    if not Path(root).is_dir():
        raise BadOption(f"{root} is not a folder", code="option.root")
    target = Target(dataset, check_field(label_field), Path(root).absolute(), stop)
    found = FileTasks(Path(tasks)) if isinstance(tasks, str | Path) else tasks
    return _annotated(target, found, choice or Choice())


def _annotated(target: Target, tasks: Iterable[AnnotatedTask | LostTask], choice: Choice) -> Iterator[Progress]:
    total = sum(1 for _ in tasks)
    classes: set[str] = set()
    for number, task in enumerate(tasks, 1):
        target.check_stop(number - 1, total)
        step, labels = _one(target, task, choice, (number, total))
        if not labels <= classes or number == total:
            classes |= labels
            fields.prepare(target.dataset, target.field, fo.Detections, sorted(classes))
        yield step


def _one(target: Target, task: AnnotatedTask | LostTask, choice: Choice, place: tuple[int, int]) -> tuple[Progress, set[str]]:
    if isinstance(task, LostTask):
        return Progress(*place, "", task.place, 0, task.error), set()
    error: LocaraError | None = None
    sample, regions, notes = None, list[Region](), list[str]()
    try:
        annotations, _ = choice.of(task)
        if annotations:
            sample = _sample(target, task)
            for annotation in annotations:
                regions += _read(annotation, size_of(sample), notes)
            _save(target, sample, regions, "; ".join(notes))
        else:
            notes.append("the task has no annotation that is meant")
    except InputError as raised:
        error, regions = raised, []
    file = f"task {task.id}" if sample is None else sample.filepath
    step = Progress(*place, "" if sample is None else str(sample.id), file, len(regions), error, "; ".join(notes))
    return step, {region.label for region in regions}


def _save(target: Target, sample: Any, regions: list[Region], problem: str) -> None:
    detections = [to_detection(region) for region in regions]
    with database():
        sample[target.field] = fo.Detections(detections=detections)
        record(sample, target.field, problem)


def _read(annotation: Mapping[str, Any], size: tuple[int, int], notes: list[str]) -> list[Region]:
    read = read_regions(annotation.get("result"))
    notes += [f"region {name}: {reason}" for name, reason in read.skipped]
    found = []
    for one in merge_groups(read.masks):
        if one.mask.size != size:
            raise BadDataset(f"region {one.id} is on a picture of {one.mask.size}, the sample's is {size}", code="image.size")
        if not one.mask.area:
            notes.append(f"region {one.id} has no pixel")
            continue
        found.append(_region(one))
    return found


def _region(one: RegionMask) -> Region:
    """What FiftyOne knew of a region goes back with it, also where its shape was edited."""
    kept = one.meta.get(META)
    known = kept if isinstance(kept, dict) else {}
    stated = [value for value in (one.score, as_float(known.get("score"))) if value is not None and 0 <= value <= 1]
    return from_extras(one.labels[0] if one.labels else "", one.mask, stated[0] if stated else None, known)


def _sample(target: Target, task: AnnotatedTask) -> Any:
    number = task.data.get(META)
    if isinstance(number, str) and ObjectId.is_valid(number):
        with database():
            try:
                return target.dataset[number]
            except KeyError:
                pass
    addresses = [value for key, value in task.data.items() if key != META and isinstance(value, str)]
    if not addresses:
        raise BadRequest(f"task {task.id} shows no file", code="task.bad")
    return target.sample(_file_of(addresses[0]))


def _file_of(address: str) -> str:
    """The file that an address ends with: that of Label Studio's local files, else its path."""
    parts = urlsplit(address)
    named = parse_qs(parts.query).get("d")
    return named[0] if named else unquote(parts.path).lstrip("/")
