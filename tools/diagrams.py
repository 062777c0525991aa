"""The drawings of docs/architecture.md, as SVG that needs no fonts and no network.

python -m tools.diagrams
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Literal

DOCS = Path(__file__).parents[1] / "docs"
CELL_W, CELL_H, GAP_X, GAP_Y, EDGE = 172, 88, 36, 40, 10
INK, LINE, FONT = "#1b2433", "#5a6b85", "Helvetica, Arial, sans-serif"
FILLS = {"host": "#dbe7fb", "ours": "#ffffff", "model": "#fde9c9", "kept": "#d9f0de"}

Kind = Literal["host", "ours", "model", "kept"]


@dataclass(frozen=True)
class Node:
    """A box in a cell of the grid; columns and rows count from 0."""

    name: str
    column: int
    row: int
    kind: Kind
    title: str
    lines: tuple[str, ...] = ()


@dataclass(frozen=True)
class Drawing:
    """Boxes, and arrows from one to another with what travels on them."""

    file: str
    title: str
    nodes: Sequence[Node]
    arrows: Sequence[tuple[str, str, str]]

    def svg(self) -> str:
        at = {node.name: node for node in self.nodes}
        width = EDGE * 2 + (1 + max(node.column for node in self.nodes)) * (CELL_W + GAP_X) - GAP_X
        height = EDGE * 2 + (1 + max(node.row for node in self.nodes)) * (CELL_H + GAP_Y) - GAP_Y
        drawn = [part for one, other, text in self.arrows for part in _arrow(at[one], at[other], text)]
        drawn += [part for node in self.nodes for part in _box(node)]
        head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" role="img"'
        return "\n".join([
            f'{head} font-family="{FONT}" fill="{INK}">', f"<title>{escape(self.title)}</title>", _HEAD,
            f'<rect width="{width}" height="{height}" rx="8" fill="#f6f8fb"/>', *drawn, "</svg>", "",
        ])  # fmt: skip


_HEAD = (
    '<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto">'
    f'<path d="M0 0 10 5 0 10z" fill="{LINE}"/></marker></defs>'
)


def _corner(node: Node) -> tuple[int, int]:
    return EDGE + node.column * (CELL_W + GAP_X), EDGE + node.row * (CELL_H + GAP_Y)


def _box(node: Node) -> Iterator[str]:
    x, y = _corner(node)
    yield f'<rect x="{x}" y="{y}" width="{CELL_W}" height="{CELL_H}" rx="6" fill="{FILLS[node.kind]}" stroke="{LINE}"/>'
    top = y + CELL_H / 2 - 7.5 * len(node.lines) + 5
    middle = f'x="{x + CELL_W / 2}" text-anchor="middle"'
    yield f'<text {middle} y="{top:g}" font-size="15" font-weight="bold">{escape(node.title)}</text>'
    for number, line in enumerate(node.lines, 1):
        yield f'<text {middle} y="{top + 17 * number:g}" font-size="13">{escape(line)}</text>'


def _arrow(one: Node, other: Node, text: str) -> Iterator[str]:
    """From side to side in a row, from top to bottom otherwise."""
    (x0, y0), (x1, y1) = _corner(one), _corner(other)
    if one.row == other.row:
        right = x1 > x0
        start, end = (x0 + CELL_W * right, y0 + CELL_H // 2), (x1 + CELL_W * (not right), y1 + CELL_H // 2)
        label = (start[0] + end[0]) / 2, start[1] - 7.0
    else:
        down = y1 > y0
        start, end = (x0 + CELL_W // 2, y0 + CELL_H * down), (x1 + CELL_W // 2, y1 + CELL_H * (not down))
        label = (start[0] + end[0]) / 2 + 8, (start[1] + end[1]) / 2 + 4
    yield f'<path d="M{start[0]} {start[1]}L{end[0]} {end[1]}" stroke="{LINE}" stroke-width="1.6" marker-end="url(#head)"/>'
    if text:
        anchor = "middle" if one.row == other.row else "start"
        yield f'<text x="{label[0]:g}" y="{label[1]:g}" font-size="12" fill="{LINE}" text-anchor="{anchor}">{escape(text)}</text>'


PICTURES = Drawing(
    "architecture-pictures.svg",
    "Pictures become pre-labels",
    (
        Node("source", 0, 0, "host", "Pictures", ("folder, pattern, list", "or tasks of Label Studio")),
        Node("plan", 1, 0, "kept", "Plan", ("names, sizes, times,", "hash of the weights")),
        Node("worker", 2, 0, "ours", "Shards of 16", ("fetch, check, decode", "in turn, bounded")),
        Node("model", 2, 1, "model", "Model", ("weightless graph +", "official weights, mapped")),
        Node("rows", 3, 0, "kept", "Shard file", ("appears whole:", "the place to go on from")),
        Node("merge", 4, 0, "ours", "Merge", ("labels, ids,", "the same bytes always")),
        Node("out", 4, 1, "kept", "Data set", ("COCO, panoptic,", "semantic, exact RLE")),
    ),
    (
        ("source", "plan", ""), ("plan", "worker", ""), ("worker", "model", "RGB, uint8"), ("worker", "rows", "RLE"),
        ("rows", "merge", ""), ("merge", "out", "check"),
    ),
)  # fmt: skip

CLICK = Drawing(
    "architecture-click.svg",
    "A click becomes a mask",
    (
        Node("editor", 0, 0, "host", "Label Studio", ("a click: POST /predict", "all prompts so far")),
        Node("guard", 1, 0, "ours", "Server", ("password, size, queue,", "deadline 30 s")),
        Node("wire", 2, 0, "ours", "Requests", ("per cent to pixels,", "labels, pages")),
        Node("cache", 3, 0, "kept", "Embeddings", ("in memory, by hash", "of the content")),
        Node("fetch", 4, 0, "ours", "Fetch", ("granted places only,", "limits, EXIF once")),
        Node("encoder", 4, 1, "model", "SAM 2.1 encoder", ("once a picture, however", "many wait for it")),
        Node("decoder", 3, 1, "model", "SAM 2.1 decoder", ("points, box, mask:", "runs at every click")),
        Node("results", 2, 1, "ours", "Results", ("bitmask, brush, polygon", "or rectangle; exact RLE")),
        Node("answer", 0, 1, "host", "Suggestion", ("or the reason why not,", "in the TextArea")),
    ),
    (
        ("editor", "guard", ""), ("guard", "wire", ""), ("wire", "cache", ""), ("cache", "fetch", "new"),
        ("fetch", "encoder", ""), ("encoder", "decoder", ""), ("cache", "decoder", "known"), ("decoder", "results", ""),
        ("results", "answer", "JSON"),
    ),
)  # fmt: skip

VIDEO = Drawing(
    "architecture-video.svg",
    "A video becomes masklets",
    (
        Node("shown", 0, 0, "host", "An object is shown", ("box, click, mask or", "words, on any frame")),
        Node("session", 1, 0, "kept", "Session", ("video + prompts:", "all else can be made anew")),
        Node("file", 0, 1, "host", "Video", ("file, folder of pictures", "or address")),
        Node("decoder", 1, 1, "ours", "Decoder", ("a process of its own,", "limits, exact frames")),
        Node("step", 2, 0, "model", "SAM 2.1, a frame", ("or classic:", "optical flow")),
        Node("memory", 2, 1, "kept", "Memory", ("shown frames, last 6,", "16 object pointers")),
        Node("mask", 3, 0, "ours", "Masks of a frame", ("forward and backward,", "clicks go first")),
        Node("store", 4, 0, "kept", "Store", ("every mask, SQLite,", "survives kill -9")),
        Node("keys", 3, 1, "host", "Keyframes", ("boxes in the editor,", "each with its mask")),
        Node("out", 4, 1, "kept", "Data set", ("YouTube-VIS, SA-V,", "MOTS, COCO frames")),
    ),
    (
        ("shown", "session", ""), ("session", "step", ""), ("file", "decoder", ""), ("decoder", "session", "frames"),
        ("memory", "step", ""), ("step", "mask", ""), ("mask", "store", ""), ("mask", "keys", "<= 1 px off"),
        ("store", "out", "export"),
    ),
)  # fmt: skip

DRAWINGS = (PICTURES, CLICK, VIDEO)

if __name__ == "__main__":
    for drawing in DRAWINGS:
        (DOCS / drawing.file).write_text(drawing.svg(), "utf-8")
