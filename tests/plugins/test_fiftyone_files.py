"""What FiftyOne reads of the plugin before it runs anything: names that are not in the file are not registered, silently."""

from __future__ import annotations

import ast
import re
from pathlib import Path

PLUGIN = Path(__file__).parents[2] / "plugins" / "fiftyone"


def listed(key: str) -> list[str]:
    block = re.search(rf"^{key}:\n((?:  - .+\n)+)", (PLUGIN / "fiftyone.yml").read_text("utf-8"), re.MULTILINE)
    assert block is not None
    return [line.removeprefix("  - ") for line in block[1].splitlines()]


def configured() -> set[str]:
    """Names of operators and panels in the code."""
    found: set[str] = set()
    for path in PLUGIN.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in {"foo.OperatorConfig", "foo.PanelConfig"}:
                found |= {ast.literal_eval(word.value) for word in node.keywords if word.arg == "name" and _is_text(word.value)}
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]).strip("()").startswith("name_"):
                first = node.value.elts[0] if isinstance(node.value, ast.Tuple) else node.value
                found.add(ast.literal_eval(first))
    return found


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def test_every_name_is_listed() -> None:
    names = listed("operators") + listed("panels")
    assert len(names) == len(set(names))
    assert set(names) == configured()


def test_the_plugin_uses_public_names_only() -> None:
    private = []
    for path in PLUGIN.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("locara_label"):
                private += [f"{path.name}: {alias.name}" for alias in node.names if alias.name.startswith("_")]
    assert private == []
