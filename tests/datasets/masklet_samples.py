"""Videos with masklets that the tests of this folder write, convert, damage and read."""

import dataclasses
from pathlib import Path
from urllib.parse import quote

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from locara_label.datasets.convert import FORMATS, open_source
from locara_label.datasets.masklets import Masklet, MaskletVideo
from locara_label.datasets.records import Category
from locara_label.types import Mask

CUP, FORK = Category(1, "cup", "kitchen"), Category(3, "fork of é")
CATEGORIES = [CUP, FORK]
OBJECT = Category(1, "object")
FILES = {"youtube-vis": "y.json", "coco-frames": "c.json", "sa-v": "sav", "mots": "mots"}
NAMES = sorted(FILES)

quick = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=15)
"""The tests write files, which takes long on a busy machine."""


def square(x, y, side=2, size=(6, 8)):
    pixels = np.zeros(size, bool)
    pixels[y : y + side, x : x + side] = True
    return Mask.from_array(pixels)


def sample(**changes):
    """Two objects in frames 0, 4 and 8 of 9; the second comes late."""
    one = Masklet(7, CUP, (square(0, 0), square(1, 0), None), score=0.5, scores=(0.25, 1.0, None), meta={"colour": "red"})
    two = Masklet(2, FORK, (None, square(1, 1), square(2, 2, 3)), iscrowd=True)
    video = MaskletVideo("one", 8, 6, 9, (0, 4, 8), (one, two), times_s=(0.0, 0.5, 1.25), meta={"place": ["x", None]})
    return dataclasses.replace(video, **changes)


def write(folder: Path, name, videos, categories=CATEGORIES, info=None):
    """The data set in a format, in a file or folder of its own name."""
    path = folder / FILES[name]
    with FORMATS[name].writer(path, categories, info) as writer:
        for video in videos:
            writer.add(video)
    return path


def load(path, name):
    with open_source(path, name) as source:
        return list(source.videos())


def file_of(path, name):
    """The file to damage: of the first video."""
    if name == "sa-v":
        return next(path.glob("*.json"))
    return next(path.glob("instances_txt/*.txt")) if name == "mots" else path


plain = st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3) | st.lists(st.integers(0, 3), max_size=4)
score = st.none() | st.floats(0, 1)


@st.composite
def masks(draw, size):
    """None, or a mask with a pixel."""
    bits = draw(st.integers(0, 2 ** (size[0] * size[1]) - 1))
    pixels = np.array([bits >> place & 1 for place in range(size[0] * size[1])], bool).reshape(size)
    return Mask.from_array(pixels) if bits else None


@st.composite
def videos_of(draw, name):
    width, height, count = draw(st.integers(1, 5)), draw(st.integers(1, 5)), draw(st.integers(0, 9))
    frames = tuple(sorted(draw(st.sets(st.integers(0, count - 1))))) if count else ()
    frames = draw(st.sampled_from([frames, tuple(range(0, count, 4)), tuple(range(count))]))
    each = len(frames)
    tracks = draw(st.lists(st.sampled_from([0, 1, 5, 1000, 1001, 3000]), unique=True, max_size=3))
    masklets = [
        Masklet(
            track,
            draw(st.sampled_from(CATEGORIES)),
            tuple(draw(masks((height, width))) for _ in frames),
            draw(score),
            draw(st.none() | st.lists(score, min_size=each, max_size=each).map(tuple)),
            draw(st.booleans()),
            draw(st.dictionaries(st.sampled_from(["masklet_type", "colour"]), plain, max_size=2)),
        )
        for track in tracks
    ]
    return MaskletVideo(
        name,
        width,
        height,
        count,
        frames,
        tuple(masklets),
        draw(st.none() | st.integers(0, 6)),
        draw(
            st.none()
            if not each
            else st.none() | st.lists(st.text(min_size=1, max_size=3), min_size=each, max_size=each).map(tuple)
        ),
        draw(st.none() if not each else st.none() | st.lists(st.floats(-5, 5), min_size=each, max_size=each).map(tuple)),
        draw(st.dictionaries(st.sampled_from(["note", "é", "video_split"]), plain, max_size=2)),
    )


@st.composite
def data_sets(draw):
    names = st.text(min_size=1, max_size=4) | st.sampled_from(["..", "a/b", "50%", "%20", "\udc80", "x\0y", "."])
    return [draw(videos_of(name)) for name in draw(st.lists(names, unique=True, min_size=1, max_size=3))]


def kept(videos, name):
    """What a format keeps, worked out apart from the code under test."""
    if name == "sa-v":
        return sorted(
            (_in_sa_v(video) for video in videos), key=lambda video: f"{quote(video.name, '', errors='surrogatepass')}_m"
        )
    if name == "mots":
        found = [_in_mots(video) for video in videos if any(mask for each in video.masklets for mask in each.masks)]
        return sorted(found, key=lambda video: quote(video.name, "", errors="surrogatepass") + ".txt")
    return _numbered(videos)


def _numbered(videos):
    last, found = 0, []
    for video in videos:
        last = video.id if video.id is not None and video.id > last else last + 1
        names = video.file_names
        if names == tuple(f"{video.name}/{frame:05d}.jpg" for frame in video.frames):
            names = None
        found.append(dataclasses.replace(video, id=last, file_names=names))
    return found


def _in_sa_v(video):
    keys = {key for each in video.masklets for key in each.meta if key.startswith("masklet_")}
    masklets = tuple(
        Masklet(each.track_id, OBJECT, each.masks, meta={key: each.meta.get(key) for key in keys}) for each in video.masklets
    )
    return dataclasses.replace(video, masklets=masklets, id=None, file_names=None, times_s=None)


def _in_mots(video):
    numbers, used = {}, {each.track_id for each in video.masklets if each.track_id // 1000 == each.category.id}
    for each in video.masklets:
        first = each.category.id * 1000
        taken = used | set(numbers.values())
        own = each.track_id // 1000 == each.category.id
        numbers[each.track_id] = each.track_id if own else next(n for n in range(first, first + 1000) if n not in taken)
    masklets = []
    for each in sorted(video.masklets, key=lambda each: numbers[each.track_id]):
        found = dict(zip(video.frames, each.masks, strict=True))
        if any(found.values()):
            category = Category(each.category.id, each.category.name)
            masklets.append(Masklet(numbers[each.track_id], category, tuple(map(found.get, range(video.frame_count)))))
    return MaskletVideo(
        video.name, video.width, video.height, video.frame_count, tuple(range(video.frame_count)), tuple(masklets)
    )


def codes(report):
    return [note["code"] for note in report.notes.to_json()]
