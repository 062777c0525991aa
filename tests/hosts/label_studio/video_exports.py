"""What tests of exports of video tasks are made of: tracks, a store that knows them, and what was written."""

import json
from fractions import Fraction

import numpy as np
import pytest

from fixtures.clips import write_clip
from locara_label.datasets.convert import open_source
from locara_label.engine.loading import load_video_model
from locara_label.hosts.label_studio.config import parse
from locara_label.hosts.label_studio.export import Options, export_videos
from locara_label.hosts.label_studio.export_recompute import Recomputing
from locara_label.hosts.label_studio.export_tasks import FileTasks
from locara_label.hosts.label_studio.export_videos import Sources
from locara_label.hosts.label_studio.masklets import MaskletStore, Place, Record, StoredFrame
from locara_label.hosts.label_studio.video_clock import EditorClock
from locara_label.hosts.label_studio.video_regions import Masklet, View, region
from locara_label.types import Mask
from locara_label.video.timeline import of_rate

CONFIG = """<View><Labels name="what" toName="video"><Label value="Cat"/><Label value="Dog"/></Labels>
  <Video name="video" value="$video" framerate="25"/><VideoRectangle name="box" toName="video"/></View>"""
SIZE, COUNT = (48, 64), 24


def moving(step=1.5, size=SIZE, count=COUNT, hidden=()):
    """A ring that wanders and changes its size, by frame."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    masks = {}
    for frame in range(count):
        away = np.hypot(rows - 20, columns - 12 - step * frame * (0.6 + frame / 60))
        ring = (away < 9 + frame / 8) & (away > 4)
        if frame not in hidden:
            masks[frame] = Mask.from_array(ring)
    return masks


def view(rate=25.0, file_rate=25, count=COUNT):
    clock = EditorClock(rate, of_rate(count, Fraction(file_rate)))
    return View(clock, clock.frame_count, count / file_rate)


def drawn(masks, name="r1", label="Cat", seen=None, **more):
    made = region(Masklet(name, "box", "video", label, masks, **more), seen or view())
    return json.loads(json.dumps(made))


def annotation(*result, number=1, **more):
    return {"id": number, "result": list(result), "was_cancelled": False, "created_at": "2026-11-21T10:00:00Z"} | more


def task(number, *annotations, url="/data/upload/1/abcd1234-clip.mp4"):
    return {"id": number, "project": 1, "data": {"video": url}, "annotations": list(annotations)}


def record(masks, name="r1", number=1, size=SIZE, count=COUNT):
    return Record(Place(1, number, name), "v.mp4", "video", "box", size, count, "Cat", "classic", "v1", {0: {"at": 1}}, "done")


@pytest.fixture
def store(tmp_path):
    with MaskletStore(tmp_path / "masklets.sqlite3") as opened:
        yield opened


@pytest.fixture
def keep(store):
    def call(masks, rate=25, **more):
        made = record(masks, **more)
        frames = [StoredFrame(at, at / rate, mask, 0.5, present=True, prompted=at == 0) for at, mask in masks.items()]
        store.replace(made, frames)

    return call


@pytest.fixture
def exported(tmp_path, store):
    def call(tasks, *, opens=None, kind="youtube-vis", name="out.json", config=CONFIG, load=load_video_model, **options):
        path = tmp_path / "export.json"
        path.write_text(json.dumps(tasks))
        sources = Sources(store, None, opens, Recomputing(load, "classic"), 1.0)
        chosen = Options(kind, tmp_path / name, **options)
        report = export_videos(FileTasks(path), None if config is None else parse(config), chosen, sources)
        with open_source(tmp_path / name, kind) as source:
            return report, list(source.videos())

    return call


def masks_of(video, place=0):
    return dict(enumerate(video.masklets[place].masks))


def lost(report):
    return sorted((one.code, one.place) for one in report.examples)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A generated clip, its video opener, and the true masks of its largest object."""
    path = write_clip(tmp_path_factory.mktemp("clip"), 1_000_000_007, (96, 128), COUNT, Fraction(25))
    truth = json.loads(path.with_suffix(".json").read_text())
    objects = [one["masks"] for one in truth["objects"]]
    masks = [{at: Mask.from_coco(mask) for at, mask in enumerate(one) if mask} for one in objects]
    best = max(masks, key=lambda one: (len(one), sum(mask.area for mask in one.values())))
    return path, {at: mask for at, mask in best.items() if mask.area}
