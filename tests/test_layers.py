"""Who may import whom, read from the sources: modules of ours downwards only, each foreign library in its one home."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import locara_label

ROOT = Path(locara_label.__file__).parent
LAYERS = (
    ("errors", "findings", "rle", "types", "geometry", "despeckle", "atomic", "children"),
    ("headers", "images", "overlay", "weights", "runtime", "graphs", "fetch", "video"),
    ("settings",),
    ("models",),
    ("engine", "inference", "batch", "datasets", "remote", "remote_video"),
    ("hosts",),
    ("exchange",),
    ("server",),
    ("quickstart",),
    ("cli",),
)
FREE = {"__init__", "__main__"}
DOWN_WITHIN = {
    "headers": set(),
    "graphs": set(),
    "runtime": {"graphs"},
    "weights": set(),
    "images": {"headers"},
    "overlay": set(),
    "fetch": set(),
    "video": {"images", "headers"},
}
"""Neighbours of the second layer that one may know. The other layers may use each other's modules."""
HOMES = {
    "onnxruntime": {"runtime"},
    "httpx2": {"weights", "hosts/label_studio", "remote"},
    "httpcore2": {"fetch"},
    "filelock": {"weights", "batch", "hosts/label_studio"},
    "sqlalchemy": {"hosts/label_studio"},
    "fsspec": {"batch/buckets"},
    "ray": {"batch", "server/ray_serve"},
    "PIL": {"images", "geometry", "overlay", "headers", "datasets/pictures"},
    "av": {"video"},
    "cv2": {"images", "geometry", "overlay", "despeckle", "models/classic", "models/classic_flow", "models/classic_video"},
    "pycocotools": {"rle"},
    "pydantic": {"settings"},
    "pydantic_settings": {"settings"},
    "click": {"cli"},
    "starlette": {"server"},
    "uvicorn": {"server"},
    "prometheus_client": {"server"},
    "label_studio_sdk": {"hosts/label_studio"},
    "fiftyone": {"hosts/fiftyone", "exchange"},
    "bson": {"hosts/fiftyone", "exchange"},
    "pymongo": {"hosts/fiftyone"},
    "tqdm": {"cli"},
    "playwright": {"quickstart/looking"},
    "tokenizers": {"models/wordpiece"},
}
ABSENT = {
    "torch", "torchvision", "transformers", "onnx", "safetensors", "scipy", "requests", "httpx", "urllib3",
    "pickle", "cPickle", "marshal", "shelve", "dill", "tests", "tools", "fixtures",
}  # fmt: skip


def _modules() -> dict[str, ast.Module]:
    paths = sorted(ROOT.rglob("*.py"))
    return {path.relative_to(ROOT).with_suffix("").as_posix(): ast.parse(path.read_text("utf-8"), str(path)) for path in paths}


MODULES = _modules()


def _imports(tree: ast.Module) -> Iterator[str]:
    """Dotted names; those below `if TYPE_CHECKING` and inside functions count too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _part(module: str) -> str:
    return module.split("/", maxsplit=1)[0]


def _layer(part: str) -> int:
    return next(number for number, parts in enumerate(LAYERS) if part in parts)


def test_every_module_has_a_layer() -> None:
    named = {part for parts in LAYERS for part in parts} | FREE
    assert {_part(module) for module in MODULES} <= named


def test_imports_go_downwards() -> None:
    wrong = []
    for module, tree in MODULES.items():
        here = _part(module)
        if here in FREE:
            continue
        theirs = {name.split(".")[1] for name in _imports(tree) if name.startswith("locara_label.")} - {here, "__version__"}
        for part in sorted(theirs):
            beside = part in DOWN_WITHIN[here] if here in DOWN_WITHIN and part in DOWN_WITHIN else True
            if _layer(part) > _layer(here) or not beside:
                wrong.append(f"{module} imports {part}")
    assert wrong == []


def test_hosts_do_not_know_each_other() -> None:
    """Only what is above them does; and FiftyOne's host knows no server."""
    names = ("label_studio", "fiftyone")
    wrong = [
        f"{module} imports {name}"
        for module, tree in MODULES.items()
        for name in _imports(tree)
        for here, there in (names, names[::-1])
        if module.startswith(f"hosts/{here}/") and name.startswith(f"locara_label.hosts.{there}")
    ]
    assert wrong == []


def test_foreign_libraries_have_one_home() -> None:
    wrong = []
    for module, tree in MODULES.items():
        for name in {name.split(".")[0] for name in _imports(tree)}:
            at_home = name not in HOMES or any(module == home or module.startswith(f"{home}/") for home in HOMES[name])
            if name in ABSENT or not at_home:
                wrong.append(f"{module} imports {name}")
    assert wrong == []


def test_nothing_runs_text_or_a_shell() -> None:
    wrong = []
    for module, tree in MODULES.items():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            shell = any(word.arg == "shell" for word in node.keywords)
            text = isinstance(node.func, ast.Name) and node.func.id in {"eval", "exec", "compile", "__import__"}
            system = isinstance(node.func, ast.Attribute) and node.func.attr in {"system", "popen", "allow_pickle"}
            pickled = any(word.arg == "allow_pickle" for word in node.keywords)
            if shell or text or system or pickled:
                wrong.append(f"{module}:{node.lineno}")
    assert wrong == []
