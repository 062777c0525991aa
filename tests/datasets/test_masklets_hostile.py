"""Files of masklets that lie: each gives a coded error that names the place, or a value, and never anything else."""

import json
import re

import pytest
from coco_samples import spoil
from hypothesis import given
from hypothesis import strategies as st
from masklet_samples import NAMES, file_of, load, quick, sample, square, write

from locara_label.datasets import mots, video_files
from locara_label.datasets.convert import convert, verify
from locara_label.errors import BadDataset, InputError

# pycocotools decodes through an array protocol that NumPy 2 calls old.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

HUGE = 10**400
RUNS = {"size": [6, 8], "counts": [48]}
JSON_FORMATS = [name for name in NAMES if name != "mots"]


def put(*keys, value):
    """Sets, or with `...` takes out, the value at a path of keys."""

    def change(content):
        target = content
        for key in keys[:-1]:
            target = target[key]
        if value is ...:
            del target[keys[-1]]
        else:
            target[keys[-1]] = value

    return change


def video(key, value):
    return put("videos", 0, key, value=value)


def row(key, value):
    return put("annotations", 0, key, value=value)


def mask(value):
    return put("annotations", 0, "segmentations", 0, value=value)


YOUTUBE_VIS = [
    (put("videos", value=...), "section.missing"),
    (put("annotations", value=...), "section.missing"),
    (put("categories", value=...), "section.missing"),
    (put("videos", value={}), "section.kind"),
    (put("categories", value=None), "section.kind"),
    (put("categories", 0, value=5), "category.field"),
    (put("categories", 0, "id", value=3), "category.id_twice"),
    (put("videos", 0, value=5), "video.field"),
    (put("annotations", 0, value=[]), "annotation.field"),
    (video("id", ...), "video.field"),
    (video("id", True), "video.field"),
    (video("id", 2), "video.id_twice"),
    (video("id", 99), "annotation.video_unknown"),
    (video("width", 0), "video.size"),
    (video("width", 1 << 40), "video.size"),
    (video("width", 8.0), "video.field"),
    (video("height", "6"), "video.field"),
    (video("height", 7), "mask.size"),
    (video("length", 4), "video.frames"),
    (video("length", HUGE), "video.field"),
    (video("length", -3), "video.field"),
    (video("file_names", ["a"]), "video.frames"),
    (video("file_names", "abc"), "video.frames"),
    (video("file_names", [1, 2, 3]), "video.field"),
    (video("file_names", ["a", "b", ""]), "video.field"),
    (video("name", ""), "video.field"),
    (video("name", 5), "video.field"),
    (video("frame_count", 8), "video.frames"),
    (video("frame_count", 1 << 50), "video.frames"),
    (video("frame_indices", [0, 4]), "video.frames"),
    (video("frame_indices", [0, 4, 4]), "video.frames"),
    (video("frame_indices", [0, 4, 1.5]), "video.frames"),
    (video("frame_indices", {"0": 1}), "video.frames"),
    (video("times_s", [0, 1]), "video.times"),
    (video("times_s", [0, 1, HUGE]), "video.times"),
    (video("times_s", 5), "video.times"),
    (video("meta", [5]), "video.meta"),
    (row("id", 2), "annotation.id_twice"),
    (row("id", -1), "annotation.field"),
    (row("id", HUGE), "annotation.field"),
    (row("video_id", 99), "annotation.video_unknown"),
    (row("video_id", ...), "annotation.field"),
    (row("category_id", 99), "annotation.category_unknown"),
    (row("category_id", "1"), "annotation.field"),
    (row("track_id", 2), "track.id_twice"),
    (row("track_id", 1.5), "annotation.field"),
    (row("iscrowd", 2), "annotation.iscrowd"),
    (row("score", 1.01), "score.range"),
    (row("score", "x"), "score.range"),
    (row("scores", [1, 1]), "track.length"),
    (row("scores", [1, 1, 2]), "score.range"),
    (row("areas", [1]), "track.length"),
    (row("areas", 5), "track.length"),
    (row("areas", [1, 2, HUGE]), "annotation.area"),
    (row("bboxes", [None, None, [1, 2]]), "annotation.bbox"),
    (row("bboxes", [None, None, "x"]), "annotation.bbox"),
    (row("meta", "x"), "video.meta"),
    (row("segmentations", ...), "track.length"),
    (row("segmentations", [None, None]), "track.length"),
    (row("segmentations", [None] * 4), "track.length"),
    (mask("x"), "mask.kind"),
    (mask(5), "mask.kind"),
    (mask({"size": [8, 6], "counts": [48]}), "mask.size"),
    (mask({"size": [6, 8], "counts": [47]}), "mask.size"),
    (mask({"size": [6, 8], "counts": "0"}), "mask.size"),
    (mask({"size": [6, 8], "counts": "~"}), "mask.counts"),
    (mask({"size": [6, 8], "counts": "PPPPPPPPPPPPPP0"}), "mask.counts"),
    (mask({"size": [6, 8], "counts": [-1, 49]}), "mask.counts"),
    (mask({"size": [6, 8], "counts": [1 << 62] * 4 + [48]}), "mask.counts"),
    (mask({"size": [6, 8], "counts": None}), "mask.counts"),
    (mask([[1, 2, 3]]), "mask.polygon"),
    (mask([[0, 0, 9e7, 9e7, 0, 9e7]]), "mask.polygon"),
]
SA_V = [
    (put("masklet", value=...), "section.missing"),
    (put("masklet", value={}), "section.kind"),
    (put("masklet", 1, value={}), "section.kind"),
    (put("masklet", value=[]), "video.frames"),
    (put("masklet", 1, value=...), "video.frames"),
    (put("masklet", 1, 0, value=...), "track.length"),
    (put("masklet", 0, 1, value=...), "track.field"),
    (put("masklet", 1, 0, value=None), "mask.kind"),
    (put("masklet", 1, 0, "size", value=[8, 6]), "mask.size"),
    (put("masklet", 1, 0, "counts", value="0"), "mask.size"),
    (put("video_id", value=""), "video.field"),
    (put("video_id", value=...), "video.field"),
    (put("video_width", value=8.5), "video.field"),
    (put("video_width", value=-8.0), "video.field"),
    (put("video_width", value="8"), "video.field"),
    (put("video_width", value=0.0), "video.size"),
    (put("video_height", value=7.0), "mask.size"),
    (put("video_frame_count", value=40.0), "video.frames"),
    (put("video_frame_count", value=1e300), "video.field"),
    (put("video_frame_count", value=HUGE), "video.field"),
    (put("video_frame_count", value=1 << 40), "video.frames"),
    (put("masklet_frame_index", value=[0, 4]), "video.frames"),
    (put("masklet_frame_index", value=[0, 4, 99]), "video.frames"),
    (put("masklet_frame_index", value=5), "video.frames"),
    (put("masklet_id", value=[7]), "track.field"),
    (put("masklet_id", value=[7, 7]), "track.id_twice"),
    (put("masklet_id", value=[7, -1]), "track.field"),
    (put("masklet_id", value=5), "track.field"),
]
COCO_FRAMES = [
    (put("videos", value=...), "section.missing"),
    (put("images", value=...), "section.missing"),
    (put("tracks", value=5), "section.kind"),
    (video("id", 7), "image.video_unknown"),
    (video("length", 3), "video.frames"),
    (video("width", 9), "video.size"),
    (put("images", 0, "id", value=2), "image.id_twice"),
    (put("images", 0, "id", value=77), "annotation.image_unknown"),
    (put("images", 0, "width", value=9), "video.size"),
    (put("images", 0, "frame_index", value=4), "image.frame_twice"),
    (put("images", 0, "frame_index", value=...), "image.field"),
    (put("images", 0, "frame_index", value=-1), "image.field"),
    (put("images", 0, "frame_index", value=HUGE), "image.field"),
    (put("images", 0, "file_name", value=""), "image.field"),
    (put("images", 0, "time_s", value="x"), "image.field"),
    (put("tracks", 0, "id", value=2), "track.id_twice"),
    (put("tracks", 0, "video_id", value=9), "track.video_unknown"),
    (put("tracks", 0, "category_id", value=9), "track.category"),
    (put("tracks", 0, "track_id", value=2), "track.id_twice"),
    (put("tracks", 0, "score", value=2), "score.range"),
    (put("tracks", 0, "scores", value=[]), "track.length"),
    (put("tracks", 0, "iscrowd", value="x"), "annotation.iscrowd"),
    (row("image_id", 99), "annotation.image_unknown"),
    (row("image_id", 2), "track.frame_twice"),
    (row("video_id", 2), "annotation.video_unknown"),
    (row("track_id", ...), "annotation.field"),
    (row("category_id", 3), "track.category"),
    (row("segmentation", None), "mask.missing"),
    (row("segmentation", 5), "mask.kind"),
    (row("segmentation", {"size": [8, 6], "counts": [48]}), "mask.size"),
    (row("score", 7), "score.range"),
    (row("iscrowd", 7), "annotation.iscrowd"),
]
CASES = [
    *(("youtube-vis", change, code) for change, code in YOUTUBE_VIS),
    *(("coco-frames", change, code) for change, code in COCO_FRAMES),
]


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """The content of a sound file of two videos in each JSON format; SA-V's has one."""
    found = {}
    for name in JSON_FORMATS:
        folder = tmp_path_factory.mktemp(name)
        found[name] = file_of(write(folder, name, [sample(), sample(name="two")]), name).read_text()
    return found


@pytest.mark.parametrize(("name", "change", "code"), CASES)
def test_one_lie(tmp_path, sound, name, change, code):
    content = json.loads(sound[name])
    change(content)
    path = tmp_path / "x.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError) as caught:
        load(path, name)
    assert caught.value.code == code
    assert len(str(caught.value)) < 400
    assert verify(path, name).problems[0].code == code
    target = "sa-v" if name != "sa-v" else "mots"
    with pytest.raises(InputError):
        convert(path, tmp_path / "out", name, target)
    assert [file.name for file in tmp_path.iterdir()] == ["x.json"]


@pytest.mark.parametrize("name", JSON_FORMATS)
@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "dataset.not_object"),
        ("[1]", "dataset.not_object"),
        ('{"videos": [', "dataset.json"),
        ('{"video_width": NaN}', "dataset.not_finite"),
        ('{"videos": [{"id": Infinity}]}', "dataset.not_finite"),
        ('{"videos": [' + "[" * 100_000, "dataset.deep"),
        ('{"videos": [], "videos": []}', "dataset.section_twice"),
        ('{"x": "\xff"}', "dataset.encoding"),
    ],
)
def test_no_json(tmp_path, name, text, code):
    path = tmp_path / "x.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(BadDataset) as caught:
        load(path, name)
    assert caught.value.code == code


@pytest.mark.parametrize("name", JSON_FORMATS)
def test_overflow_is_no_number(tmp_path, sound, name):
    path = tmp_path / "x.json"
    text = re.sub(r'"(width|video_width)": [\d.]+', r'"\1": 1e999', sound[name], count=1)
    assert "1e999" in text
    path.write_text(text)
    with pytest.raises(InputError):
        load(path, name)


SQUARE = square(0, 0).counts.decode()
LINE = f"0 1000 1 6 8 {SQUARE}"


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        ("0 1000 1 6 8", "mots.line"),
        (f"{LINE} 5", "mots.line"),
        (f"0  1000 1 6 8 {SQUARE}", "mots.line"),
        (f"-1 1000 1 6 8 {SQUARE}", "mots.line"),
        (f"0.0 1000 1 6 8 {SQUARE}", "mots.line"),
        (f"NaN 1000 1 6 8 {SQUARE}", "mots.line"),
        (f"\u0663 1000 1 6 8 {SQUARE}", "mots.line"),
        (f"0 {'9' * 17} 1 6 8 {SQUARE}", "mots.line"),
        (f"0 {'9' * 9999} 1 6 8 {SQUARE}", "mots.line"),
        (f"{10**9} 1000 1 6 8 {SQUARE}", "video.frames"),
        (f"0 1000 1 0 8 {SQUARE}", "video.size"),
        (f"0 1000 1 {10**9} {10**9} {SQUARE}", "video.size"),
        (f"{LINE}\n1 1000 1 7 8 {SQUARE}", "video.size"),
        (f"{LINE}\n{LINE}", "track.frame_twice"),
        (f"{LINE}\n1 1000 2 6 8 {SQUARE}", "track.category"),
        ("0 1000 1 6 8 0", "mask.size"),
        (f"0 1000 1 8 7 {SQUARE}", "mask.size"),
        ("0 1000 1 6 8 ~", "mask.counts"),
        ("0 1000 1 6 8 \xe9", "mask.counts"),
        ("\n".join(f"0 {number} 1 1 1 01" for number in range(40)) + "\n9999999 0 1 1 1 01", "video.masks"),
    ],
)
def test_one_line(tmp_path, lines, code):
    path = tmp_path / "0002.txt"
    path.write_text(lines, "utf-8")
    with pytest.raises(InputError) as caught:
        load(path, "mots")
    assert caught.value.code == code
    assert len(str(caught.value)) < 400
    assert verify(path, "mots").problems[0].code == code


def test_files_beside_the_lines(tmp_path):
    (tmp_path / "a.txt").write_text(LINE)
    for seqmap, code in (("a empty 0 5 5", "mots.line"), ("a empty 0 x", "mots.line"), (f"a empty 0 {10**12}", "video.frames")):
        (tmp_path / "seqmap.txt").write_text(seqmap)
        assert [problem.code for problem in verify(tmp_path, "mots").problems] == [code]
    (tmp_path / "a.txt").write_text(f"7{LINE[1:]}")
    (tmp_path / "seqmap.txt").write_text("a empty 0 5")
    assert [problem.code for problem in verify(tmp_path, "mots").problems] == ["video.frames"]
    (tmp_path / "seqmap.txt").write_bytes(b"\xff")
    assert [problem.code for problem in verify(tmp_path, "mots").problems] == ["dataset.encoding"]
    (tmp_path / "a.txt").unlink()
    assert [problem.code for problem in verify(tmp_path, "mots").problems] == ["dataset.empty"]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_not_there(tmp_path, name):
    assert [problem.code for problem in verify(tmp_path / "no", name).problems] == ["dataset.unreadable"]
    found = [problem.code for problem in verify(tmp_path, name).problems]
    assert found == ["dataset.empty" if name in ("sa-v", "mots") else "dataset.unreadable"]


def test_one_video_may_not_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("locara_label.datasets.youtube_vis.MAX_VIDEO_CHARS", 100)
    monkeypatch.setattr("locara_label.datasets.coco_frames.MAX_VIDEO_CHARS", 100)
    monkeypatch.setattr(video_files, "MAX_FILE_BYTES", 50)
    for name in NAMES:
        path = write(tmp_path, name, [sample()])
        assert [problem.code for problem in verify(path, name).problems] == ["dataset.item_size"]


def test_a_line_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(mots, "MAX_ITEM_CHARS", 1000)
    (tmp_path / "a.txt").write_text(LINE + "0" * 5000)
    assert [problem.code for problem in verify(tmp_path, "mots").problems] == ["dataset.item_size"]


@pytest.mark.parametrize("name", JSON_FORMATS)
@quick
@given(data=st.data())
def test_junk_anywhere_gives_a_coded_error_or_a_value(tmp_path_factory, sound, name, data):
    content = json.loads(sound[name])
    spoil(content, data, data.draw(st.integers(1, 6)))
    folder = tmp_path_factory.mktemp("junk")
    path = folder / "x.json"
    path.write_text(json.dumps(content))
    for problem in verify(path, name, "mots").problems:
        str(problem).encode("utf-8", "backslashreplace")
    try:
        convert(path, folder / "out", name, "mots")
    except InputError:
        assert [file.name for file in folder.iterdir()] == ["x.json"]


@quick
@given(st.data())
def test_bytes_changed_in_lines_give_a_coded_error_or_a_value(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("bytes")
    path = write(folder, "mots", [sample()])
    damaged = data.draw(st.sampled_from(sorted(file for file in path.rglob("*.txt"))))
    content = bytearray(damaged.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
        content = content or bytearray(b" ")
    damaged.write_bytes(content)
    report = verify(path, "mots", "sa-v")
    assert report.counts.videos <= 1


def test_rle_of_no_pixels_is_absence(tmp_path, sound):
    content = json.loads(sound["youtube-vis"])
    content["annotations"][0]["segmentations"][0] = RUNS
    path = tmp_path / "x.json"
    path.write_text(json.dumps(content))
    assert load(path, "youtube-vis")[0].masklets[0].masks[0] is None
