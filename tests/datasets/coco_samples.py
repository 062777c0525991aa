"""Small data sets that the tests of this folder write, damage and read."""

import json

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from locara_label.datasets.coco import Category, CocoImage, CocoWriter
from locara_label.datasets.panoptic import PanopticWriter
from locara_label.types import Instance, Mask

CATEGORIES = [Category(1, "cup", "kitchen"), Category(7, "sky", "outside", is_thing=False), Category(3, "fork")]
IMAGE = CocoImage("one.jpg", width=12, height=9)


def mask(*rectangles, size=(9, 12)):
    """A mask of rectangles (x0, y0, x1, y1)."""
    pixels = np.zeros(size, bool)
    for x0, y0, x1, y1 in rectangles:
        pixels[y0:y1, x0:x1] ^= True
    return Mask.from_array(pixels)


def instance(label="cup", *rectangles, score=0.75, size=(9, 12)):
    return Instance(label, 0, score, mask(*rectangles, size=size))


RING = instance("cup", (1, 1, 7, 7), (3, 3, 5, 5), score=0.1234567)
PARTS = instance("sky", (0, 0, 2, 2), (8, 5, 12, 9), score=1)
DOT = instance("fork", (11, 8, 12, 9), score=0.0)


def write(path, *pictures, **options):
    """Writes instances of pictures that are all like IMAGE."""
    with CocoWriter(path, CATEGORIES, **options) as writer:
        for number, instances in enumerate(pictures, 1):
            writer.add(CocoImage(f"{number}.jpg", 12, 9), instances)
    return path


def sample(path):
    """Two pictures, annotations 1 (ring), 2 (two parts) and 3 (one pixel)."""
    return write(path, [RING, PARTS], [DOT])


def panoptic_sample(folder):
    """Images 1 (segments 1 and 2) and 2 (segment 1)."""
    with PanopticWriter(folder / "p.json", folder / "p", CATEGORIES) as writer:
        writer.add(CocoImage("1.jpg", 12, 9), [RING, PARTS])
        writer.add(CocoImage("2.jpg", 12, 9), [DOT])
    return folder / "p.json"


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def load(path):
    return json.loads(path.read_text("utf-8"))


def dump(path, content):
    """Writes JSON; a string is written as it is."""
    path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return path


def edit(path, change):
    """Applies `change` to the decoded file and writes it back."""
    content = load(path)
    change(content)
    return dump(path, content)


steady = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=60)
"""The tests write files, which takes long on a busy machine."""

arrays = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=20))


def spoil(content, data, depth):
    """Puts junk somewhere into what a file of JSON says, not deeper than so many levels."""
    for _ in range(depth):
        keys = list(content) if isinstance(content, dict) else list(range(len(content)))
        if not keys:
            return
        key = data.draw(st.sampled_from(keys))
        if not isinstance(content[key], (dict, list)) or data.draw(st.integers(0, 3)) == 0:
            content[key] = data.draw(junk)
            return
        content = content[key]


junk = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
    | st.sampled_from(["../x", "\0", "/etc/passwd", "\udc80", "é", "a" * 5000]),
    lambda inner: (
        st.lists(inner, max_size=7) | st.dictionaries(st.sampled_from(["size", "counts", "id", "x"]), inner, max_size=3)
    ),
    max_leaves=12,
)
