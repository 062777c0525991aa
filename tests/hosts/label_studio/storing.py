"""Records and frames to store, for the tests of the stores."""

from __future__ import annotations

import numpy as np
import pytest
from sqlalchemy import Executable

from locara_label.hosts.label_studio.masklets import MaskletStore, Place, Record, StoredFrame
from locara_label.types import Mask

SIZE, COUNT = (12, 20), 40
PLACE = Place(3, 14, "bGrvVkxO7c")


def record(place=PLACE, **more):
    values = {"label": "Car", "model": "classic", "version": "classic-1", "prompts": {0: {"box": [1, 2, 3.5, 4]}, 7: None}}
    return Record(place, "/data/upload/1/v.mp4", "video", "box", SIZE, COUNT, **(values | more))


def frame(number, seed=0, size=SIZE, **more):
    mask = Mask.from_array(np.random.default_rng([number, seed]).random(size) < 0.5)
    values = {"time_s": number / 29.97, "score": 0.75, "present": True, "prompted": False}
    return StoredFrame(number, mask=mask, **(values | more))


def refused(code, kind, call, *args):
    with pytest.raises(kind) as caught:
        call(*args)
    assert caught.value.code == code
    return caught.value.message


def wish(words):
    return {"text": words, "labels": {words: None}}


def driven(store: MaskletStore, statement: Executable) -> None:
    """Has the store's own connection do what the store never does."""
    with store.database.writing() as connection:
        connection.execute(statement)
