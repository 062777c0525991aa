"""RLE: the same bytes as pycocotools, exact back again, and no crash on anything hostile."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from pycocotools import mask as coco

from benchmarks import rle as benchmark
from locara_label import rle
from locara_label.errors import BadMask

SIZES = [(1, 1), (1, 50), (50, 1), (2, 3), (64, 48), (513, 700), (7, 1025)]
MASKS = arrays.arrays(bool, st.tuples(st.integers(1, 20), st.integers(1, 20)))


def code_of(error: pytest.ExceptionInfo[BadMask]) -> str:
    return error.value.code


def theirs(mask: NDArray[np.bool_]) -> bytes:
    return bytes(coco.encode(np.asfortranarray(mask.view(np.uint8)))["counts"])


def circle(size: tuple[int, int], centre: tuple[float, float], radius: float) -> NDArray[np.bool_]:
    rows, columns = np.ogrid[: size[0], : size[1]]
    return np.hypot(rows - centre[0], columns - centre[1]) < radius


def test_4000_random_masks_equal_pycocotools() -> None:
    chance = np.random.default_rng(11)
    assert not any(benchmark.differs(benchmark.random_mask(chance)) for _ in range(4000))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("density", [0.0, 0.01, 0.5, 1.0])
def test_every_layout_encodes_the_same(size: tuple[int, int], density: float) -> None:
    mask = np.random.default_rng(0).random(size) < density
    expected = theirs(mask)
    layouts = [mask, np.asfortranarray(mask), mask.view(np.uint8), mask[::-1][::-1], np.repeat(mask, 2, axis=1)[:, ::2]]
    assert {rle.encode(layout) for layout in layouts} == {expected}
    decoded = rle.decode(expected, size)
    assert np.array_equal(decoded, mask)
    assert decoded.dtype == bool
    assert decoded.flags.f_contiguous


@pytest.mark.parametrize("size", [(0, 0), (0, 5), (5, 0)])
def test_masks_without_pixels(size: tuple[int, int]) -> None:
    empty = np.zeros(size, bool)
    assert rle.encode(empty) == b""
    assert rle.decode(b"", size).shape == size
    assert rle.compress([], size) == rle.compress([0], size) == b""
    assert rle.encode_labels(empty.astype(int)) == {}
    assert rle.merge([b"", b""], size) == b""
    assert rle.from_polygons([[0, 0, 3, 0, 3, 3]], size) == b""
    assert (rle.area(b"", size), rle.box_xywh(b"", size), rle.iou(b"", b"", size)) == (0, (0, 0, 0, 0), 0.0)


def test_a_picture_of_100_megapixels() -> None:
    mask = np.zeros((10_000, 10_000), bool, order="F")
    mask[4000:6000, 3000:9000] = True
    mask[5000, 5000] = False
    counts = rle.encode(mask)
    assert rle.area(counts, mask.shape) == 2000 * 6000 - 1
    assert rle.box_xywh(counts, mask.shape) == (3000, 4000, 6000, 2000)
    assert np.array_equal(rle.decode(counts, mask.shape), mask)


def test_the_benchmark_is_one_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    small = benchmark.smooth_mask((30, 40))
    monkeypatch.setattr(benchmark, "smooth_mask", lambda: small)
    monkeypatch.setattr(
        benchmark, "timings", lambda: {"encode_12mp_row_major_ms": benchmark.median_ms(lambda: rle.encode(small), 1)}
    )
    assert benchmark.main(["--masks", "5"]) == 0
    assert '"differing": 0' in capsys.readouterr().out


@pytest.mark.parametrize(
    "mask", [np.zeros((2, 2, 2), bool), np.zeros(4, bool), np.zeros((2, 2), np.float32), np.full((2, 2), 255, np.uint8)]
)
def test_what_is_no_mask(mask: NDArray[np.bool_]) -> None:
    with pytest.raises(BadMask):
        rle.encode(mask)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int64])
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (60, 90), (600, 530)])
def test_labels_equal_one_mask_each(dtype: type, size: tuple[int, int]) -> None:
    labels = np.random.default_rng(3).integers(0, 200, (max(1, size[0] // 7), max(1, size[1] // 5)))
    labels = np.kron(labels, np.ones((8, 6), int))[: size[0], : size[1]].astype(dtype)
    encoded = rle.encode_labels(labels)
    assert list(encoded) == sorted(np.unique(labels).tolist())
    for value, counts in encoded.items():
        assert counts == theirs(labels == value)


def test_negative_labels_count() -> None:
    encoded = rle.encode_labels(np.array([[-1, -1], [7, -1]]))
    assert {value: rle.area(counts, (2, 2)) for value, counts in encoded.items()} == {-1: 3, 7: 1}


@settings(max_examples=200, deadline=None)
@given(MASKS)
def test_run_lengths_describe_the_columns(mask: NDArray[np.bool_]) -> None:
    runs = rle.run_lengths(rle.encode(mask))
    values = np.arange(len(runs)) % 2 == 1
    assert np.array_equal(np.repeat(values, runs), mask.ravel(order="F"))
    assert rle.compress(runs.tolist(), mask.shape) == rle.encode(mask)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(0, 1 << 28), min_size=1, max_size=12))
def test_long_runs_survive(runs: list[int]) -> None:
    size = (sum(runs), 1)
    if size[0] < 1 << 32:
        counts = rle.compress(runs, size)
        assert rle.run_lengths(counts).tolist() == (runs if size[0] else [])


@pytest.mark.parametrize("count", [4, 12])
def test_runs_that_all_take_six_symbols(count: int) -> None:
    """pycocotools writes past its buffer here, and the process dies later."""
    runs = [1 << 24] * 3
    while len(runs) < count:
        runs.append(runs[-2] + (1 << 24))
    counts = rle.compress(runs, (sum(runs), 1))
    assert len(counts) == 6 * count
    assert rle.run_lengths(counts).tolist() == runs


def test_masks_too_large_for_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = np.random.default_rng(0)
    masks = [chance.random((40, 50)) < density for density in (0, 0.3, 0.6, 1)]
    expected = [rle.encode(mask) for mask in masks]
    union, both = rle.merge(expected[1:3], (40, 50)), rle.merge(expected[1:3], (40, 50), intersect=True)
    monkeypatch.setattr(rle, "_MAX_LIBRARY_PIXELS", 100)
    assert [rle.encode(mask) for mask in masks] == expected
    assert rle.merge(expected[1:3], (40, 50)) == union
    assert rle.merge(iter(expected[1:3]), (40, 50), intersect=True) == both
    with pytest.raises(BadMask, match="polygons") as caught:
        rle.from_polygons([[0, 0, 5, 0, 5, 5]], (40, 50))
    assert code_of(caught) == "mask.size"


@settings(max_examples=600, deadline=None)
@given(
    st.one_of(st.binary(max_size=40), st.text(st.characters(min_codepoint=48, max_codepoint=111), max_size=40).map(str.encode))
)
def test_random_bytes_are_refused_or_exact(counts: bytes) -> None:
    for size in ((4, 6), (0, 3), (1 << 16, 1 << 15)):
        try:
            rle.check(counts, size)
        except BadMask as error:
            assert error.code in {"mask.counts", "mask.size"}  # noqa: PT017
        else:
            assert rle.run_lengths(counts).sum() == size[0] * size[1]
            assert 0 <= rle.area(counts, size) <= size[0] * size[1]


def test_every_cut_and_flip_is_refused_or_decodes() -> None:
    mask = circle((40, 50), (20, 20), 15)
    counts = rle.encode(mask)
    for at in range(len(counts)):
        for hostile in (counts[:at], counts[:at] + bytes([counts[at] ^ 1]) + counts[at + 1 :], counts[at:]):
            try:
                decoded = rle.decode(hostile, mask.shape)
            except BadMask:
                continue
            assert decoded.shape == mask.shape


@pytest.mark.parametrize(
    ("counts", "size", "code"),
    [
        (b"4", (2, 3), "mask.size"),
        (b"", (2, 3), "mask.size"),
        (b"\xff\x00", (2, 3), "mask.counts"),
        (b"o", (2, 3), "mask.counts"),
        (b"oooooooooooooooo0", (2, 3), "mask.counts"),
        (b"0N8", (2, 3), "mask.counts"),
        (b"6", (-2, -3), "mask.size"),
        (b"6", (1 << 20, 1 << 20), "mask.size"),
    ],
)
def test_hostile_counts(counts: bytes, size: tuple[int, int], code: str) -> None:
    with pytest.raises(BadMask) as caught:
        rle.decode(counts, size)
    assert code_of(caught) == code


@pytest.mark.parametrize(
    "runs",
    [
        [7],
        [3, 4],
        [-1, 7],
        [6, 1, -1],
        [1 << 62] * 4 + [6],
        [1 << 70],
        [(1 << 63) + 6],
        [3.0, 3.0],
        ["6"],
        [[6]],
        [[1], [2, 3]],
        [None],
        [float("nan")],
    ],
)
def test_hostile_run_lengths(runs: list[int]) -> None:
    with pytest.raises(BadMask):
        rle.compress(runs, (2, 3))


def test_zero_runs_are_allowed_where_pycocotools_allows_them() -> None:
    counts = rle.compress([0, 2, 0, 4], (2, 3))
    assert rle.decode(counts, (2, 3)).all()
    assert rle.area(counts, (2, 3)) == 6


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 4), st.integers(0, 1 << 30))
def test_merging_and_iou_follow_the_pixels(height: int, width: int, count: int, seed: int) -> None:
    size = height, width
    masks = np.random.default_rng(seed).random((count, *size)) < 0.6
    parts = [rle.encode(mask) for mask in masks]
    union, both = rle.merge(parts, size), rle.merge(parts, size, intersect=True)
    assert np.array_equal(rle.decode(union, size), masks.any(axis=0))
    assert np.array_equal(rle.decode(both, size), masks.all(axis=0) if count else np.zeros(size, bool))
    if count >= 2:
        joint = (masks[0] | masks[1]).sum()
        expected = (masks[0] & masks[1]).sum() / joint if joint else 0.0
        assert rle.iou(parts[0], parts[1], size) == pytest.approx(expected)


def test_polygons_are_rasterised_as_pycocotools_does() -> None:
    chance = np.random.default_rng(5)
    for _ in range(300):
        polygons = [chance.uniform(-5, 60, 2 * chance.integers(3, 9)).tolist() for _ in range(chance.integers(1, 4))]
        expected = coco.merge(coco.frPyObjects(polygons, 40, 50))["counts"]
        assert rle.from_polygons(polygons, (40, 50)) == expected


def test_no_polygon_is_an_empty_mask() -> None:
    assert rle.area(rle.from_polygons([], (4, 5)), (4, 5)) == 0


@pytest.mark.parametrize(
    "polygon",
    [
        [],
        [1, 2, 3, 4],
        [1, 2, 3, 4, 5, 6, 7],
        [1, 2, 3, 4, 5, float("nan")],
        [1, 2, 3, 4, 5, float("inf")],
        [1, 2, 3, 4, 5, "x"],
        [1, 2, 3, 4, 5, None],
        [1, 2, 3, 4, 5, 10**400],
        [[1, 2], [3, 4], [5, 6]] * 2,
        7,
        None,
        {"counts": 1},
        [1e300, 0, 0, 0, 5, 5],
        [4e6, 0, -4e6, 0, 5, 5],
        [5e6, 5e6] * 3,
        [0, 0, 1e5, 1e5] * 500,
    ],
)
def test_hostile_polygons(polygon: list[float]) -> None:
    with pytest.raises(BadMask) as caught:
        rle.from_polygons([polygon], (10, 10))
    assert code_of(caught) == "mask.polygon"


@pytest.mark.parametrize("size", [(-1, 5), (1 << 20, 1 << 20)])
def test_polygons_of_an_impossible_size(size: tuple[int, int]) -> None:
    with pytest.raises(BadMask):
        rle.from_polygons([[0, 0, 5, 0, 5, 5]], size)
