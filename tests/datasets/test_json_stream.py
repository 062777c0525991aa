import json
import sys

import pytest
from coco_samples import dump, steady
from hypothesis import given
from hypothesis import strategies as st

from locara_label.datasets import json_stream
from locara_label.datasets.json_stream import Entry, scan
from locara_label.errors import BadDataset


def collect(path, **options):
    """Puts the object together again from its entries."""
    found = {}
    for entry in scan(path, **options):
        if entry.index == -1:
            found[entry.section] = []
        elif entry.index is None:
            found[entry.section] = entry.value
        else:
            assert entry.index == len(found[entry.section])
            found[entry.section].append(entry.value)
    return found


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=15,
)


@steady
@given(
    st.dictionaries(st.text(max_size=4), plain, max_size=5),
    st.integers(1, 9),
    st.booleans(),
    st.sampled_from([None, 1, "\t"]),
)
def test_any_object_at_any_chunk_size_is_what_json_reads(tmp_path_factory, content, chunk, ascii_only, indent):
    text = json.dumps(content, ensure_ascii=ascii_only, indent=indent)
    path = tmp_path_factory.mktemp("json") / "x.json"
    path.write_bytes(text.encode("utf-8", "replace"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "_CHUNK_CHARS", chunk)
        assert collect(path) == json.loads(path.read_bytes())


@pytest.mark.parametrize("chunk", range(1, 12))
@pytest.mark.parametrize("number", ["0", "-1", "12.5", "1e5", "-1.25E-3", "123456789"])
def test_a_number_cut_by_the_window_is_whole(tmp_path, monkeypatch, chunk, number):
    monkeypatch.setattr(json_stream, "_CHUNK_CHARS", chunk)
    path = dump(tmp_path / "x", f'{{"a":[{number},{number}],"b":{number}}}')
    assert collect(path) == {"a": [float(number)] * 2, "b": float(number)}


def test_an_empty_list_is_announced(tmp_path):
    assert list(scan(dump(tmp_path / "x", ' { "a" : [ ] } \n'))) == [Entry("a", -1, None)]


BROKEN = {
    "": "dataset.not_object",
    "[]": "dataset.not_object",
    "null": "dataset.not_object",
    "\ufeff{}": "dataset.not_object",
    "{": "dataset.json",
    "{} x": "dataset.json",
    "{1: 2}": "dataset.json",
    '{"a" 1}': "dataset.json",
    '{"a": 1': "dataset.json",
    '{"a": [1': "dataset.json",
    '{"a": [1 2]}': "dataset.json",
    '{"a": [1,]}': "dataset.json",
    '{"a": 1,}': "dataset.json",
    '{"a": [{"b": 1]}': "dataset.json",
    '{"a": "x}': "dataset.json",
    '{"a": 01}': "dataset.json",
    '{"a": ' + "9" * 5000 + "}": "dataset.json",
    '{"a": NaN}': "dataset.not_finite",
    '{"a": [{"b": [Infinity]}]}': "dataset.not_finite",
    '{"a": -Infinity}': "dataset.not_finite",
    '{"a": 1, "a": 2}': "dataset.section_twice",
    '{"a": ' + "[" * 200_000: "dataset.deep",
    '{"a": [' + '{"b":' * 200_000: "dataset.deep",
}


@pytest.mark.parametrize("text", BROKEN, ids=lambda text: text[:20])
def test_broken_files_have_a_code(tmp_path, text):
    with pytest.raises(BadDataset) as caught:
        collect(dump(tmp_path / "x", text))
    assert caught.value.code == BROKEN[text]
    assert len(str(caught.value)) < 200


def test_1e999_is_json_and_an_infinity(tmp_path):
    assert collect(dump(tmp_path / "x", '{"a": 1e999}')) == {"a": float("inf")}


def test_the_place_of_a_fault_is_counted_from_the_start_of_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(json_stream, "_CHUNK_CHARS", 7)
    text = '{"a": [' + "1, " * 50 + "?" + " " * 100 + "]}"
    with pytest.raises(BadDataset, match=f"character {text.index('?')}:"):
        collect(dump(tmp_path / "x", text))


def test_a_fault_is_reported_without_reading_the_rest(tmp_path, monkeypatch):
    monkeypatch.setattr(json_stream, "_CHUNK_CHARS", 100)
    with pytest.raises(BadDataset) as caught:
        collect(dump(tmp_path / "x", '{"a": [{"b": ?}' + "," * 10_000), max_item_chars=300)
    assert caught.value.code == "dataset.json"


def test_an_item_has_a_longest_length(tmp_path, monkeypatch):
    monkeypatch.setattr(json_stream, "_CHUNK_CHARS", 10)
    path = dump(tmp_path / "x", '{"a": ["' + "x" * 500 + '"]}')
    assert collect(path, max_item_chars=600)
    with pytest.raises(BadDataset) as caught:
        collect(path, max_item_chars=100)
    assert caught.value.code == "dataset.item_size"


def test_bytes_that_are_not_utf8(tmp_path):
    (tmp_path / "x").write_bytes(b'{"a": "\xff\xfe"}')
    with pytest.raises(BadDataset) as caught:
        collect(tmp_path / "x")
    assert caught.value.code == "dataset.encoding"


@pytest.mark.parametrize("name", ["missing", "."])
def test_a_file_that_cannot_be_read(tmp_path, name):
    with pytest.raises(BadDataset) as caught:
        collect(tmp_path / name)
    assert caught.value.code == "dataset.unreadable"


def test_the_recursion_limit_is_left_alone(tmp_path):
    before = sys.getrecursionlimit()
    with pytest.raises(BadDataset):
        collect(dump(tmp_path / "x", '{"a": ' + "[" * 100_000))
    assert sys.getrecursionlimit() == before
