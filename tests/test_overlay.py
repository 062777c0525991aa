"""Drawings: what changes, what stays, and that any size works."""

import colorsys
import subprocess
import sys

import numpy as np
import pytest
from numpy.typing import NDArray

from locara_label import overlay
from locara_label.errors import BadMask, BadOption
from locara_label.types import Instance, Mask

GREY = np.full((200, 300, 3), 120, np.uint8)
SIZES = [(1, 1), (1, 500), (300, 1), (7, 9), (40, 60), (480, 640), (2000, 3000)]


def block(size: tuple[int, int], rows: slice, columns: slice) -> NDArray[np.bool_]:
    mask = np.zeros(size, bool)
    mask[rows, columns] = True
    return mask


def instance(mask: NDArray[np.bool_], label: str = "car", score: float = 0.9, *, stuff: bool = False) -> Instance:
    return Instance(label, 1, score, Mask.from_array(mask), stuff)


CAR = block((200, 300), slice(50, 150), slice(60, 200))
BARE = {"outlines": False, "names": False}


def test_a_label_has_one_vivid_colour_in_every_process() -> None:
    colours = {overlay.colour(f"label {n}") for n in range(100)}
    assert len(colours) > 90
    assert all(colorsys.rgb_to_hsv(*(v / 255 for v in colour))[1] > 0.5 for colour in colours)
    program = "from locara_label.overlay import colour; print(*colour('car'))"
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert tuple(int(v) for v in printed.split()) == overlay.colour("car")


def test_only_the_mask_is_tinted() -> None:
    drawn = overlay.draw(GREY, [instance(CAR)], 0.5, **BARE)
    expected = np.rint(120 + 0.5 * (np.array(overlay.colour("car")) - 120))
    assert (drawn[CAR] == expected).all()
    assert np.array_equal(drawn[~CAR], GREY[~CAR])
    assert (GREY == 120).all()


@pytest.mark.parametrize("feather_px", [0, 6])
def test_opacity_goes_from_nothing_to_full(feather_px: float) -> None:
    full = overlay.draw(GREY, [instance(CAR)], 1, feather_px=feather_px, **BARE)
    assert (full[100, 130] == overlay.colour("car")).all()
    assert np.array_equal(overlay.draw(GREY, [instance(CAR)], 0, feather_px=feather_px, **BARE), GREY)


def test_feather_softens_the_edge_and_not_the_border_of_the_picture() -> None:
    mask = block((200, 300), slice(0, 100), slice(0, 300))
    drawn = overlay.draw(GREY, [instance(mask)], 1, feather_px=10, **BARE).astype(int)
    paint = np.array(overlay.colour("car"))
    share = ((drawn[:, 150] - 120) @ (paint - 120)) / ((paint - 120) @ (paint - 120))
    assert share[0] == pytest.approx(1, abs=0.02)
    assert share[99] + share[100] == pytest.approx(1, abs=0.05)
    assert 0.1 < share[104] < share[100] < share[96] < 0.9
    assert share[140] == 0


def test_invert_darkens_everything_else() -> None:
    drawn = overlay.draw(GREY, [instance(CAR)], 0.5, invert=True, **BARE)
    assert np.array_equal(drawn[CAR], GREY[CAR])
    assert (drawn[~CAR] < 75).all()
    soft = overlay.draw(GREY, [instance(CAR)], 0.5, invert=True, feather_px=8, **BARE)
    assert len(np.unique(soft[100, 40:80, 0])) > 5


def test_smaller_masks_lie_on_larger_ones() -> None:
    small = block((200, 300), slice(90, 110), slice(100, 120))
    for order in ([instance(small, "wheel"), instance(CAR)], [instance(CAR), instance(small, "wheel")]):
        assert (overlay.draw(GREY, order, 1, **BARE)[100, 110] == overlay.colour("wheel")).all()


def test_outlines_follow_borders_and_holes() -> None:
    ring = CAR.copy()
    ring[80:120, 100:140] = False
    drawn = overlay.draw(GREY, [instance(ring)], 0, names=False)
    for row, column in ((50, 130), (79, 120)):
        assert np.abs(drawn[row, column].astype(int) - overlay.colour("car")).max() < 40
    assert (drawn[100, 120] == 120).all()
    assert (drawn[65, 80] == 120).all()


def test_names_are_written_over_things_and_inside_regions() -> None:
    plain = overlay.draw(GREY, [instance(CAR)], 0, outlines=False, names=False)
    thing = overlay.draw(GREY, [instance(CAR)], 0, outlines=False)
    region = overlay.draw(GREY, [instance(CAR, stuff=True)], 0, outlines=False)
    assert (np.nonzero((thing != plain).any(axis=2))[0] < 50).all()
    rows, columns = np.nonzero((region != plain).any(axis=2))
    assert CAR[rows, columns].all()
    assert (thing[:50] == overlay.colour("car")).all(axis=2).any()


def test_names_do_not_cover_each_other() -> None:
    many = [instance(CAR, f"label {n}") for n in range(40)]
    drawn = overlay.draw(GREY, many, 0, outlines=False)
    shown = [(drawn == overlay.colour(f"label {n}")).all(axis=2).sum() for n in range(40)]
    assert 3 <= sum(count > 100 for count in shown) < 40


def test_dark_colours_carry_light_text() -> None:
    labels = [f"label {n}" for n in range(300)]
    dark = min(labels, key=lambda label: np.dot(overlay.colour(label), (0.299, 0.587, 0.114)))
    drawn = overlay.draw(GREY, [instance(CAR, dark)], 0, outlines=False)
    assert drawn.max() == 250


def test_scores_below_one_are_written() -> None:
    assert overlay._caption(instance(CAR, score=0.876)) == "car 88%"
    assert overlay._caption(instance(CAR, score=1.0)) == "car"


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("invert", [False, True])
def test_any_size_can_be_drawn(size: tuple[int, int], invert: bool) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    full, none = np.ones(size, bool), np.zeros(size, bool)
    one = block(size, slice(0, 1), slice(0, 1))
    many = [instance(full, "sky", stuff=True), instance(none, "ghost"), instance(one, "a name that is far too long" * 9)]
    drawn = overlay.draw(image, many, invert=invert)
    assert drawn.shape == image.shape
    assert drawn.dtype == np.uint8
    assert drawn.flags.c_contiguous


def test_nothing_to_draw_is_a_copy() -> None:
    GREY.flags.writeable = False
    drawn = overlay.draw(GREY, [])
    assert np.array_equal(drawn, GREY)
    assert not np.shares_memory(drawn, GREY)


@pytest.mark.parametrize(
    "options", [{"opacity": -0.1}, {"opacity": float("nan")}, {"feather_px": -1}, {"feather_px": float("inf")}]
)
def test_options_out_of_range(options: dict[str, float]) -> None:
    with pytest.raises(BadOption):
        overlay.draw(GREY, [instance(CAR)], **options)


@pytest.mark.parametrize("image", [GREY[:, :, 0], GREY.astype(np.float32), GREY[:0], np.dstack([GREY, GREY])])
def test_what_is_no_picture(image: NDArray[np.uint8]) -> None:
    for call in (
        lambda: overlay.draw(image, []),
        lambda: overlay.cutout(image, CAR),
        lambda: overlay.contact_sheet([(image, "")]),
    ):
        with pytest.raises(BadOption):
            call()


def test_a_mask_of_another_size_is_refused() -> None:
    with pytest.raises(BadMask, match="does not fit"):
        overlay.draw(GREY, [instance(CAR.T)])
    with pytest.raises(BadMask, match="does not fit"):
        overlay.cutout(GREY, CAR.T)


@pytest.mark.parametrize("mask", [Mask.from_array(CAR), CAR, CAR.astype(np.float32), CAR.astype(np.float64), CAR * np.uint8(255)])
def test_cutouts_keep_colours_and_put_the_mask_in_alpha(mask: Mask | NDArray[np.generic]) -> None:
    cut = overlay.cutout(GREY, mask)
    assert np.array_equal(cut[:, :, :3], GREY)
    assert np.array_equal(cut[:, :, 3], CAR * np.uint8(255))
    assert np.array_equal(overlay.cutout(GREY, mask, invert=True)[:, :, 3], ~CAR * np.uint8(255))


def test_cutouts_can_be_soft() -> None:
    alpha = overlay.cutout(GREY, CAR, feather_px=10)[:, :, 3]
    assert alpha[100, 130] == 255
    assert 100 < alpha[100, 60] < 155
    assert alpha[0, 0] == 0


def test_odd_alphas_are_clipped_or_refused() -> None:
    assert overlay.cutout(GREY, np.full(GREY.shape[:2], 7.0))[0, 0, 3] == 255
    for bad in (np.full(GREY.shape[:2], np.nan), np.zeros(GREY.shape[:2], np.int32)):
        with pytest.raises(BadMask, match="alpha"):
            overlay.cutout(GREY, bad)


def test_a_contact_sheet_shows_every_picture_in_its_proportions() -> None:
    colours = [(250, 0, 0), (0, 250, 0), (0, 0, 250), (250, 250, 0), (0, 250, 250)]
    pictures = [(np.full((30 + 20 * n, 60, 3), colour, np.uint8), f"number {n}") for n, colour in enumerate(colours)]
    sheet = overlay.contact_sheet(pictures, columns=3, tile_px=96)
    for (picture, _), colour in zip(pictures, colours, strict=True):
        rows, columns = np.nonzero((sheet == colour).all(axis=2))
        ratio = (np.ptp(rows) + 1) / (np.ptp(columns) + 1)
        assert ratio == pytest.approx(picture.shape[0] / picture.shape[1], rel=0.05)
        assert max(np.ptp(rows), np.ptp(columns)) + 1 == 96


def test_captions_are_shortened_to_fit() -> None:
    assert overlay._shortened("abcdef", lambda text: len(text) <= 5) == "ab..."
    assert overlay._shortened("abc", lambda text: len(text) <= 5) == "abc"
    assert overlay._shortened("abcdef", lambda text: not text) == ""
    sheet = overlay.contact_sheet([(GREY, "a very long caption " * 20)], columns=9, tile_px=64)
    assert sheet.shape[1] == 64 + 2 * 4


@pytest.mark.parametrize(("columns", "tile_px"), [(0, 100), (3, 8)])
def test_a_sheet_out_of_range(columns: int, tile_px: int) -> None:
    with pytest.raises(BadOption):
        overlay.contact_sheet([(GREY, "")], columns, tile_px)
    with pytest.raises(BadOption):
        overlay.contact_sheet([])
