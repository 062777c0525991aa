"""Plots as SVG: bars, stacked bars and points, with a title for each mark that a pointer shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

WIDTH, HEIGHT = 460, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 16, 10, 40
_ROW, _NAMES, _LETTERS = 22, 130, 20
_TICKS = 5


def histogram(values: Sequence[float], edges: Sequence[float], axis: str, names: Sequence[str] = ()) -> str:
    """How many values lie in each bin; what is above all of them counts in the last.

    Args:
        values: finite.
        edges: rising, one more than bins.
        axis: what the values are.
        names: of the bins, to be written instead of the edges.
    """
    clipped = np.minimum(np.asarray(values, np.float64), edges[-1])
    counts = np.histogram(clipped, bins=np.asarray(edges, np.float64))[0].tolist()
    most = -(-max([*counts, 1]) // (_TICKS - 1)) * (_TICKS - 1)
    across, down = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM
    step = across / len(counts)
    drawn = _frame(None if names else (edges[0], edges[-1]), (0, most), axis, "number")
    for number, count in enumerate(counts):
        left, tall = _LEFT + number * step, down * count / most
        told = f"{_text(names[number]) if names else f'{edges[number]:g} to {edges[number + 1]:g}'}: {count}"
        place = f'x="{left + 1:.1f}" y="{_TOP + down - tall:.1f}" width="{step - 2:.1f}" height="{tall:.1f}"'
        drawn.append(f'<rect class="bar" {place}><title>{told}</title></rect>')
        if names:
            drawn.append(_label(left + step / 2, HEIGHT - _BOTTOM + 14, names[number], "middle"))
    return _svg(HEIGHT, drawn)


def points(pairs: Sequence[tuple[float, float]], names: Sequence[str], across: str, up: str) -> str:
    """Points of two values in 0..1 each, with a name for each."""
    wide, down = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM
    marks = [
        f'<circle class="dot" cx="{_LEFT + x * wide:.1f}" cy="{_TOP + (1 - y) * down:.1f}" r="3">'
        f"<title>{_text(name)}: {x:.3f}, {y:.3f}</title></circle>"
        for (x, y), name in zip(pairs, names, strict=True)
    ]
    return _svg(HEIGHT, [*_frame((0, 1), (0, 1), across, up), *marks])


def stacked(rows: Sequence[tuple[str, Mapping[str, int]]]) -> str:
    """A bar for each row, of parts side by side; each part has its name as its class."""
    most = max([*(sum(parts.values()) for _, parts in rows), 1])
    room = WIDTH - _NAMES - _RIGHT - 40
    drawn = []
    for number, (name, parts) in enumerate(rows):
        top, left = _TOP + number * _ROW, float(_NAMES)
        short = name if len(name) <= _LETTERS else name[: _LETTERS - 1] + "…"
        drawn.append(f'<text x="{_NAMES - 6}" y="{top + 13}" text-anchor="end">{_text(short)}<title>{_text(name)}</title></text>')
        for part, count in parts.items():
            wide = room * count / most
            told = f"{_text(name)}: {count} {_text(part)}"
            place = f'x="{left:.1f}" y="{top}" width="{wide:.1f}" height="{_ROW - 5}"'
            drawn.append(f'<rect class="{_text(part)}" {place}><title>{told}</title></rect>' if count else "")
            left += wide
        drawn.append(f'<text x="{left + 5:.1f}" y="{top + 13}">{sum(parts.values())}</text>')
    return _svg(2 * _TOP + len(rows) * _ROW, drawn)


def _frame(across: tuple[float, float] | None, up: tuple[float, float], axis: str, side: str) -> list[str]:
    """Axes with numbers, those across only if there are some, and what they are."""
    right, bottom = WIDTH - _RIGHT, HEIGHT - _BOTTOM
    lines = [f'<path class="axis" d="M{_LEFT} {_TOP}V{bottom}H{right}"/>']
    for number in range(_TICKS):
        part = number / (_TICKS - 1)
        lines.append(_label(_LEFT - 5, bottom - part * (bottom - _TOP) + 4, f"{up[0] + part * (up[1] - up[0]):g}", "end"))
        if across is not None:
            value = across[0] + part * (across[1] - across[0])
            lines.append(_label(_LEFT + part * (right - _LEFT), bottom + 14, f"{value:.3g}", "middle"))
    lines.append(_label((_LEFT + right) / 2, HEIGHT - 8, axis, "middle"))
    lines.append(f'<text x="12" y="{HEIGHT / 2:.0f}" text-anchor="middle" class="side">{_text(side)}</text>')
    return lines


def _label(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{_text(text)}</text>'


def _svg(height: float, parts: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img" width="{WIDTH}" height="{height}">{"".join(parts)}</svg>'


def _text(value: str) -> str:
    return escape("".join(letter if letter.isprintable() else " " for letter in value))
