import json
import os
import subprocess
import sys
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from masklet_samples import CATEGORIES, CUP, FILES, NAMES, codes, data_sets, kept, load, quick, sample, square, write
from pycocotools import mask as api
from pycocotools.coco import COCO

from fixtures import make_masklets
from locara_label.datasets import check as checking
from locara_label.datasets.convert import FORMATS, convert, open_source, verify
from locara_label.datasets.masklets import Masklet, MaskletVideo
from locara_label.datasets.records import Category
from locara_label.errors import BadDataset, BadMask, BadOption
from locara_label.types import Mask

# pycocotools decodes through an array protocol that NumPy 2 calls old.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

ROOT = Path(__file__).parents[2]
FIXTURE = ROOT / "fixtures" / "masklets" / "sav_900001_manual.json"
SAMPLE = Path(os.environ.get("LOCARA_SA_V", "none"))
PAIRS = list(product(NAMES, NAMES))
CARRY_SA_V = ["coco-frames", "sa-v", "youtube-vis"]


@pytest.mark.parametrize(("source", "target"), PAIRS)
@quick
@given(videos=data_sets())
def test_what_a_format_keeps_comes_back_from_every_other(tmp_path_factory, source, target, videos):
    folder = tmp_path_factory.mktemp("pair")
    path = write(folder, source, videos)
    first = kept(videos, source)
    assert load(path, source) == first
    (folder / "out").mkdir()
    report = convert(path, folder / "out" / FILES[target], source, target)
    assert (report.counts.videos, report.counts.masklets) == (len(first), sum(len(video.masklets) for video in first))
    if not kept(first, target):
        return  # a folder of no videos is not read
    assert load(folder / "out" / FILES[target], target) == kept(first, target)
    (folder / "back").mkdir()
    convert(folder / "out" / FILES[target], folder / "back" / FILES[source], target, source)
    assert load(folder / "back" / FILES[source], source) == kept(kept(first, target), source)


@pytest.mark.parametrize(("source", "target"), PAIRS)
@quick
@given(videos=data_sets())
def test_nothing_is_dropped_in_silence(tmp_path_factory, source, target, videos):
    """Where no note was taken, the other format gives back all that there was."""
    folder = tmp_path_factory.mktemp("silent")
    path = write(folder, source, videos)
    (folder / "out").mkdir()
    report = convert(path, folder / "out" / FILES[target], source, target)
    told = verify(path, source, target)
    assert set(codes(told)) <= set(codes(report)) | {"video.id"}
    assert told.problems == []
    if not told.counts.videos:
        return  # a folder of no videos is not read
    before, after = load(path, source), load(folder / "out" / FILES[target], target)
    if not codes(report):
        assert [video.masklets for video in after] == [video.masklets for video in before]
        assert [(video.name, video.frames, video.meta) for video in after] == [(v.name, v.frames, v.meta) for v in before]


@pytest.mark.parametrize("name", NAMES)
def test_the_same_videos_give_the_same_bytes(tmp_path, name):
    for folder in ("1", "2"):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder, name, [sample()])
    one, two = (
        {path.relative_to(tmp_path / folder): path.read_bytes() for path in (tmp_path / folder).rglob("*") if path.is_file()}
        for folder in ("1", "2")
    )
    assert one == two != {}


def test_youtube_vis_is_as_published(tmp_path):
    content = json.loads(
        write(tmp_path, "youtube-vis", [sample(), sample(name="two", frames=(0, 1, 2), frame_count=3)]).read_text()
    )
    assert content["categories"] == [each.to_coco() for each in CATEGORIES]
    first, second = content["videos"]
    assert first["file_names"] == ["one/00000.jpg", "one/00004.jpg", "one/00008.jpg"]
    assert (first["id"], first["width"], first["height"], first["length"]) == (1, 8, 6, 3)
    assert first["frame_indices"] == [0, 4, 8]
    assert "frame_indices" not in second
    row = content["annotations"][1]
    assert (row["id"], row["video_id"], row["category_id"], row["iscrowd"], row["track_id"]) == (2, 1, 3, 1, 2)
    assert row["areas"] == [None, 4, 9]
    assert row["bboxes"] == [None, [1, 1, 2, 2], [2, 2, 3, 3]]
    assert row["segmentations"][0] is None
    assert isinstance(row["segmentations"][2]["counts"], str)
    assert [each["id"] for each in content["annotations"]] == [1, 2, 3, 4]
    np.testing.assert_array_equal(api.decode(row["segmentations"][2]), square(2, 2, 3).to_array())


def test_youtube_vis_of_others_is_read(tmp_path):
    runs = {"size": [6, 8], "counts": [6, 2, 40]}
    polygon = [[1, 1, 3, 1, 3, 3, 1, 3]]
    rows = [
        {
            "id": 9,
            "video_id": 5,
            "category_id": 3,
            "segmentations": [runs, None, polygon],
            "areas": [2, None, 5.5],
            "bboxes": None,
        },
        {"id": 4, "video_id": 2, "category_id": 1, "segmentations": [], "iscrowd": 0},
        {"id": 1, "video_id": 5, "category_id": 1, "segmentations": [[], {"size": [6, 8], "counts": [48]}, None]},
    ]
    names = [f"0043f/{frame:05d}.jpg" for frame in (0, 5, 10)]
    videos = [
        {"id": 5, "width": 8, "height": 6, "length": 3, "file_names": names, "license": 1, "date_captured": "x"},
        {"id": 2, "width": 1, "height": 1, "file_names": []},
    ]
    path = tmp_path / "y.json"
    content = {"annotations": rows, "videos": videos, "categories": [each.to_coco() for each in CATEGORIES]}
    path.write_text(json.dumps(content))
    with open_source(path, "youtube-vis") as source:
        one, two = source.videos()
        assert source.notes.counts == {"masklet.area": 1}
    assert (one.name, one.id, one.frames, one.file_names) == ("0043f", 5, (0, 1, 2), tuple(names))
    assert [each.track_id for each in one.masklets] == [9, 1]
    np.testing.assert_array_equal(np.flatnonzero(one.masklets[0].masks[0].to_array().T), [6, 7])
    assert one.masklets[0].masks[2].area == 4
    assert one.masklets[1].masks == (None, None, None)
    assert (two.name, two.masklets[0].masks) == ("2", ())


def test_coco_frames_is_coco(tmp_path, capsys):
    path = write(tmp_path, "coco-frames", [sample(), sample(name="two")])
    assert checking.check(path) == []
    reference = COCO(str(path))
    capsys.readouterr()
    content = json.loads(path.read_text())
    assert list(content)[-4:] == ["images", "annotations", "videos", "tracks"]
    assert [(each["video_id"], each["frame_index"]) for each in content["images"]] == [(v, f) for v in (1, 2) for f in (0, 4, 8)]
    assert content["images"][1]["file_name"] == "one/00004.jpg"
    found = [(each["image_id"], each["track_id"], each["frame_index"]) for each in content["annotations"]]
    assert found[:4] == [(1, 1, 0), (2, 1, 4), (2, 2, 4), (3, 2, 8)]
    assert [each["track_id"] for each in content["annotations"]][4:] == [3, 3, 4, 4]
    assert [each["score"] for each in content["annotations"]][:4] == [0.25, 1.0, 1.0, 1.0]
    np.testing.assert_array_equal(reference.annToMask(reference.anns[4]), square(2, 2, 3).to_array())


def test_coco_frames_of_others_is_read(tmp_path):
    """As other tools write video in COCO: `frame_id`, no list of tracks, no lengths, track ids of their own in each video."""
    row = {"iscrowd": 0, "bbox": [0, 0, 2, 2], "area": 4, "segmentation": square(0, 0).to_coco(), "category_id": 1}
    images = [
        {"id": n, "video_id": v, "frame_id": f, "file_name": f"{n}.jpg", "width": 8, "height": 6}
        for n, v, f in ((4, 1, 3), (9, 1, 1))
    ]
    rows = [{"id": 1, "image_id": 9, "track_id": 5, **row}, {"id": 2, "image_id": 4, "track_id": 5, "score": 0.5, **row}]
    content = {"images": images, "annotations": rows, "categories": [CUP.to_coco()], "videos": [{"id": 1, "name": "x"}]}
    path = tmp_path / "c.json"
    path.write_text(json.dumps(content))
    (video,) = load(path, "coco-frames")
    assert (video.frames, video.frame_count, video.file_names, video.size) == ((1, 3), 4, ("9.jpg", "4.jpg"), (6, 8))
    assert video.masklets == (Masklet(5, CUP, (square(0, 0), square(0, 0)), scores=(None, 0.5)),)


def test_the_fixture_is_what_its_script_makes(tmp_path):
    make_masklets.main(["--out", str(tmp_path)])
    assert (tmp_path / FIXTURE.name).read_bytes() == FIXTURE.read_bytes()


def test_the_fixture_is_read(tmp_path):
    (video,) = load(FIXTURE, "sa-v")
    assert (video.name, video.size, video.frame_count, video.frames) == ("sav_900001", (24, 32), 37, tuple(range(0, 37, 4)))
    for place, frame in enumerate(video.frames):
        for masklet, true in zip(video.masklets, make_masklets.masks(frame), strict=True):
            found = masklet.masks[place]
            assert (found is None) == (not true.any())
            np.testing.assert_array_equal(np.zeros((24, 32), bool) if found is None else found.to_array(), true)


@pytest.mark.parametrize("path", [FIXTURE, SAMPLE], ids=["fixture", "sample"])
@pytest.mark.parametrize("through", CARRY_SA_V)
def test_sa_v_comes_back_byte_by_byte(tmp_path, path, through):
    if not path.exists():
        pytest.skip("LOCARA_SA_V names no annotation file of SA-V")
    between = tmp_path / FILES[through]
    there = convert(path, between, "sa-v", through)
    back = convert(between, tmp_path / "back.json", through, "sa-v")
    assert codes(there) == []
    assert set(codes(back)) <= {"video.id"}
    assert (tmp_path / "back.json").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("path", [FIXTURE, SAMPLE], ids=["fixture", "sample"])
def test_sa_v_masks_survive_mots(tmp_path, path):
    if not path.exists():
        pytest.skip("LOCARA_SA_V names no annotation file of SA-V")
    report = convert(path, tmp_path / "mots", "sa-v", "mots")
    (before,), (after,) = load(path, "sa-v"), load(tmp_path / "mots", "mots")
    assert {"masklet.meta", "video.meta", "video.frames", "masklet.track_id"} <= set(codes(report))
    assert after.frame_count == before.frame_count
    for one, two in zip(before.masklets, after.masklets, strict=True):
        assert tuple(two.masks[frame] for frame in before.frames) == one.masks
        assert two.present == one.present


def test_sa_v_keeps_manual_and_auto_apart(tmp_path):
    manual, auto = (
        sample(masklets=(Masklet(0, CUP, (square(0, 0), None, None), meta={"masklet_type": kind}),))
        for kind in ("manual", "auto")
    )
    path = write(tmp_path, "sa-v", [manual, auto])
    assert sorted(file.name for file in path.iterdir()) == ["one_auto.json", "one_manual.json"]
    assert len(load(path, "sa-v")) == 2


@pytest.mark.parametrize("name", ["sa-v", "mots"])
def test_two_videos_for_one_file(tmp_path, name):
    with pytest.raises(BadDataset) as caught:
        write(tmp_path, name, [sample(), sample()])
    assert caught.value.code == "video.name_twice"
    path = write(tmp_path, "youtube-vis", [sample(), sample(name="two")])
    with pytest.raises(BadDataset) as caught:
        convert(path, tmp_path / ("x.txt" if name == "mots" else "x.json"), "youtube-vis", name)
    assert caught.value.code == "dataset.one_video"
    assert [file.name for file in tmp_path.iterdir()] == ["y.json"]


def test_overlap_is_said(tmp_path):
    video = sample()
    report = convert(write(tmp_path, "youtube-vis", [video]), tmp_path / "m", "youtube-vis", "mots")
    assert report.notes.counts["masklet.overlap"] == 1  # frame 4: the squares share a pixel


@pytest.mark.parametrize("name", NAMES)
def test_a_failure_leaves_nothing_and_what_was_there(tmp_path, name):
    bad = sample(masklets=(Masklet(0, Category(9, "none"), (None,) * 3), Masklet(1, CUP, (Mask((6, 8), b"1"), None, None))))
    with pytest.raises(BadMask):
        write(tmp_path, name, [sample(), bad])
    assert list(tmp_path.iterdir()) == []
    path = write(tmp_path, name, [sample()])
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    with pytest.raises((BadMask, BadDataset)):
        write(tmp_path, name, [sample(), bad])
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before
    assert path.exists()


@pytest.mark.parametrize("name", ["youtube-vis", "coco-frames", "mots"])
def test_a_category_that_is_not_listed(tmp_path, name):
    with pytest.raises(BadDataset) as caught:
        write(tmp_path, name, [sample()], [CUP])
    assert caught.value.code == "label.unknown"


def test_a_folder_that_is_filled_is_left_alone(tmp_path):
    source = write(tmp_path, "youtube-vis", [sample()])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "x").write_text("mine")
    with pytest.raises(BadDataset) as caught:
        convert(source, tmp_path / "out", "youtube-vis", "sa-v")
    assert caught.value.code == "dataset.exists"
    (tmp_path / "out" / "x").unlink()
    convert(source, tmp_path / "out", "youtube-vis", "sa-v")
    assert len(list((tmp_path / "out").iterdir())) == 1


def test_no_way_to_write(tmp_path):
    source = write(tmp_path, "youtube-vis", [sample()])
    for target in NAMES:
        with pytest.raises(BadOption) as caught:
            convert(source, tmp_path / "no" / "out", "youtube-vis", target)
        assert caught.value.code == "option.out"
    with pytest.raises(BadOption):
        convert(source, tmp_path / "out", "youtube-vis", "tiff")


def test_verify_names_each_video_that_is_wrong(tmp_path):
    path = write(tmp_path, "youtube-vis", [sample(name=str(number)) for number in range(4)])
    content = json.loads(path.read_text())
    content["annotations"][2]["segmentations"][1]["counts"] = "0"
    content["annotations"][6]["category_id"] = 77
    path.write_text(json.dumps(content))
    report = verify(path, "youtube-vis", "mots")
    assert [problem.code for problem in report.problems] == ["mask.size", "annotation.category_unknown"]
    assert str(report.problems[0]).startswith("video 2: annotation 3: frame 4: ")
    assert [problem.where for problem in report.problems] == ["video 2", "video 4"]
    assert report.counts.videos == 2
    assert report.notes.counts["video.meta"] == 2
    assert len(verify(path, "youtube-vis", limit=1).problems) == 1


@pytest.mark.parametrize(
    ("source", "target"),
    [("mots", "youtube-vis"), *(pytest.param(*pair, marks=pytest.mark.slow) for pair in pairwise([*NAMES, NAMES[0]]))],
)
def test_a_long_video(tmp_path, source, target):
    """10,000 frames, in which an object is now and then."""
    masks = tuple(square(frame % 7, 0) if frame % 3 else None for frame in range(10_000))
    video = MaskletVideo("long", 8, 6, 10_000, tuple(range(10_000)), (Masklet(1000, CUP, masks),))
    path = write(tmp_path, source, [video])
    (tmp_path / "out").mkdir()
    convert(path, tmp_path / "out" / FILES[target], source, target)
    (found,) = load(tmp_path / "out" / FILES[target], target)
    assert found.masklets[0].masks == masks


CONVERT_ALL = """
import sys
from itertools import pairwise
from pathlib import Path
import numpy as np
sys.path[:0] = [{root!r}, {here!r}]
from masklet_samples import CUP, FILES, write
from locara_label.datasets.convert import convert
from locara_label.datasets.masklets import Masklet, MaskletVideo
from locara_label.types import Mask
from tests.peak_memory import peak_rss_bytes
folder, count = Path(sys.argv[1]), int(sys.argv[2])
noise = np.random.default_rng(0)
def video(number):
    masks = tuple(Mask.from_array(noise.random((64, 64)) < 0.5) for _ in range(30))
    return MaskletVideo(f"v{{number:04d}}", 64, 64, 30, tuple(range(30)), (Masklet(1001, CUP, masks),))
order = ["youtube-vis", "coco-frames", "mots", "sa-v", "youtube-vis"]
write(folder, order[0], (video(number) for number in range(count)))
names = [FILES[order[0]], FILES["coco-frames"], FILES["mots"], FILES["sa-v"], "again.json"]
for (source, target), (name, out) in zip(pairwise(order), pairwise(names)):
    assert convert(folder / name, folder / out, source, target).counts.masks == 30 * count
print(peak_rss_bytes())
"""


@pytest.mark.slow
def test_the_memory_is_that_of_one_video(tmp_path):
    program = CONVERT_ALL.format(root=str(ROOT), here=str(Path(__file__).parent))
    peaks = []
    for count in (20, 200):
        (tmp_path / str(count)).mkdir()
        command = [sys.executable, "-c", program, str(tmp_path / str(count)), str(count)]
        run = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
        peaks.append(int(run.stdout))
    assert (tmp_path / "200" / "y.json").stat().st_size > 8 << 20
    assert peaks[1] - peaks[0] < 8 << 20, f"{peaks} bytes"  # buffers that 20 videos do not fill; 60 and 400 are 1 MB apart


def test_the_formats_are_those_of_the_command():
    from locara_label.cli.convert import _FORMAT

    assert sorted(_FORMAT.choices) == sorted(FORMATS)
