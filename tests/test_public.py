from __future__ import annotations

import subprocess
import sys

import pytest

import locara_label

NAMES = [
    "Box", "Candidate", "Detection", "Embedding", "Grounded", "Instance", "Label", "LocaraError", "Mask", "Point", "Prompt",
    "PromptModel", "SegmentationModel", "TextModel", "TextPrompt", "__version__",
    "load", "load_prompt_model", "mask_from_prompt", "open_service", "open_video", "read_image",
]  # fmt: skip
HEAVY = ["numpy", "onnxruntime", "pydantic", "pydantic_settings", "cv2", "PIL", "pycocotools", "httpx2", "click", "tqdm"]
WATCH = """
import sys
opened = []
def watch(event, args):
    if event == "open" or event.startswith("socket"):
        opened.append((event, str(args[0])))
sys.addaudithook(watch)
import locara_label
ours = [name for name in sys.modules if name.startswith("locara_label.")]
heavy = [name for name in %r if name in sys.modules]
strange = [args for event, args in opened if not args.endswith((".py", ".pyc")) and ".pyc." not in args]
assert not ours, ours
assert not heavy, heavy
assert not strange, strange
assert "threading" not in sys.modules or sys.modules["threading"].active_count() == 1
assert dir(locara_label) == sorted(locara_label.__all__)
"""


def test_the_public_names() -> None:
    assert sorted(NAMES) == sorted(locara_label.__all__)
    assert dir(locara_label) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_name_resolves(name: str) -> None:
    value = getattr(locara_label, name)
    assert value is getattr(locara_label, name)
    assert isinstance(value, str) or value.__module__.startswith("locara_label.")


def test_an_unknown_name() -> None:
    with pytest.raises(AttributeError, match=r"'locara_label' has no attribute 'sam3'"):
        locara_label.sam3  # noqa: B018


def test_importing_loads_and_opens_nothing() -> None:
    done = subprocess.run([sys.executable, "-W", "error", "-c", WATCH % HEAVY], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
