import json
from dataclasses import replace

import pytest

from locara_label.batch import plan as plans
from locara_label.batch.inputs import Item
from locara_label.batch.plan import Plan
from locara_label.errors import BatchError
from locara_label.types import Label

ITEMS = tuple(Item(f"{number}.jpg", number, number) for number in range(10))
PLAN = Plan("m", "w", "semantic", 0.5, ITEMS, shard_size=4, provider="CPU", labels=(Label(0, "a", is_stuff=True),))


def test_shards_cover_the_pictures_in_order():
    shards = list(PLAN.shards())
    assert [len(shard.items) for shard in shards] == [4, 4, 2]
    assert sum((shard.items for shard in shards), ()) == ITEMS
    assert PLAN.shard_count == 3


def test_a_plan_comes_back_from_its_file(tmp_path):
    odd = replace(PLAN, items=(Item("\udcff é \u2028.jpg", 1, 2),), threshold=None)
    for plan in (PLAN, odd):
        (tmp_path / "plan.json").write_bytes(plan.to_bytes())
        assert plans.read(tmp_path / "plan.json") == plan
        assert plans.is_plan(tmp_path / "plan.json")


def test_no_plan(tmp_path):
    assert plans.read(tmp_path / "plan.json") is None


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"format": "locara-label plan 0"}', b"\xff", b"[" * 100_000])
def test_what_is_no_plan(tmp_path, content):
    (tmp_path / "plan.json").write_bytes(content)
    with pytest.raises(BatchError) as caught:
        plans.read(tmp_path / "plan.json")
    assert caught.value.code == "batch.bad_plan"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"threshold": None}, "threshold: 0.5 before, the default now"),
        ({"model": "n"}, "model: m before, n now"),
        ({"weights": "v"}, "weights: w before, v now"),
        ({"task": "panoptic"}, "task: semantic before, panoptic now"),
        ({"shard_size": 5}, "shard_size: 4 before, 5 now"),
        ({"version": "9"}, f"version: {PLAN.version} before, 9 now"),
        ({"items": ITEMS[1:]}, "inputs: 1 gone (0.jpg)"),
        ({"items": (replace(ITEMS[0], size=7), *ITEMS[1:])}, "inputs: 1 changed (0.jpg)"),
        (
            {"items": tuple(Item(f"n{i}.jpg", 1, 1) for i in range(4))},
            "inputs: 4 new (n0.jpg, n1.jpg, n2.jpg, ...), 10 gone (0.jpg, 1.jpg, 2.jpg, ...)",
        ),
    ],
)
def test_differences_name_the_field(change, text):
    assert PLAN.differences(replace(PLAN, **change)) == [text]


def test_what_the_model_tells_is_no_difference():
    assert PLAN.differences(PLAN.bound("", ())) == []


def test_keys_change_with_what_rows_depend_on():
    def keys(plan):
        return [shard.key for shard in plan.shards()]

    touched = replace(PLAN, items=(*ITEMS[:5], replace(ITEMS[5], mtime_ns=9), *ITEMS[6:]))
    assert [one == two for one, two in zip(keys(PLAN), keys(touched), strict=True)] == [True, False, True]
    assert not set(keys(PLAN)) & set(keys(replace(PLAN, threshold=0.4)))
    assert not set(keys(PLAN)) & set(keys(PLAN.bound("CUDA", PLAN.labels)))


def test_refreshing_takes_news_of_some_pictures_only():
    now = replace(PLAN, items=tuple(replace(item, size=99) for item in ITEMS))
    fresh = PLAN.refreshed(frozenset({"3.jpg"}), now)
    assert [item.size for item in fresh.items] == [0, 1, 2, 99, 4, 5, 6, 7, 8, 9]


@pytest.mark.parametrize("lines", [1, 2, 3])
def test_a_plan_that_is_cut_off_is_none(tmp_path, lines):
    whole = Plan("m", "w", "semantic", None, (Item("a.jpg", 1, 2), Item("b.jpg", 3, 4))).to_bytes().splitlines(keepends=True)
    (tmp_path / "plan.json").write_bytes(b"".join(whole[:lines]))
    with pytest.raises(BatchError) as caught:
        plans.read(tmp_path / "plan.json")
    assert caught.value.code == "batch.bad_plan"


def test_millions_of_lines_are_those_of_the_whole():
    for items in ((), (Item("a.jpg", 1, 2),), (Item("a.jpg", 1, 2), Item("b.jpg", 3, 4))):
        made = Plan("m", "w", "semantic", None, items)
        assert plans.parse("a plan", made.to_bytes().splitlines(keepends=True)) == made
        assert json.loads(made.to_bytes())["inputs"] == [[item.file_name, item.size, item.mtime_ns] for item in items]
