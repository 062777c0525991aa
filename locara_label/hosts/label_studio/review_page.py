"""A review as one HTML page that needs nothing else: no scripts, no fonts, no pictures, no addresses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from locara_label.hosts.label_studio import review_plots as plots
from locara_label.hosts.label_studio.review import Review, worst_tasks
from locara_label.hosts.label_studio.review_rows import LEFT_OUT, Row, Tables

_BINS = tuple(number / 20 for number in range(21))
_CLICKS = tuple(float(number) for number in range(1, 12))
_CLICK_NAMES = (*map(str, range(1, 10)), "10+")
_SECONDS = tuple(float(number) for number in range(0, 62, 3))
_BARS, _WORST, _POINTS = 30, 50, 5000
_STYLE = """
:root { color-scheme: light dark; --ink: #1d2433; --paper: #fff; --line: #c9d0dc; --soft: #5b6577; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ef; --paper: #14181f; --line: #3a4250; --soft: #9aa4b5; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); }
body { margin: 2rem auto; max-width: 74rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; } p { margin: .4rem 0; } .note { color: var(--soft); }
table { border-collapse: collapse; display: block; overflow-x: auto; }
td, th { padding: .2rem .6rem; white-space: nowrap; text-align: right; border-bottom: 1px solid var(--line); }
td:first-child, th:first-child { text-align: left; } th { font-weight: 600; }
.plots { display: flex; flex-wrap: wrap; gap: 1.5rem; } figure { margin: 0; } figcaption { font-weight: 600; }
svg { max-width: 100%; height: auto; } svg text { font: 11px system-ui, sans-serif; fill: var(--soft); }
.side { transform-box: fill-box; transform-origin: center; transform: rotate(-90deg); }
.axis { fill: none; stroke: var(--line); } .bar { fill: #3b78c4; } .dot { fill: #3b78c4; fill-opacity: .5; }
.kept { fill: #2f9e6e; background: #2f9e6e; } .edited { fill: #e0a030; background: #e0a030; }
.deleted { fill: #cf4b4b; background: #cf4b4b; } .added { fill: #6a7fd0; background: #6a7fd0; }
.key i { display: inline-block; width: .8em; height: .8em; margin: 0 .3em 0 1em; }
"""
_KEY = "".join(f'<i class="{name}"></i>{name}' for name in ("kept", "edited", "deleted", "added"))


def page(review: Review, tables: Tables) -> str:
    """The whole page."""
    title = f"Review of project {review.project}"
    parts = [
        f"<h1>{title}</h1>",
        _summary(review),
        *_plots(review, tables),
        "<h2>All regions</h2>",
        _table("", [tables.total]),
        "<h2>By label</h2>",
        _table("label", tables.labels),
        "<h2>By model version</h2>",
        _table("model version", tables.versions),
        "<h2>By annotator</h2>",
        _table("annotator", tables.annotators),
        *_paces(tables),
        *_worst(review),
        *_left_out(review),
    ]
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    head = f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{policy}"><title>{title}</title>'
    view = '<meta name="viewport" content="width=device-width, initial-scale=1">'
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}{view}<style>{_STYLE}</style></head>\n<body>\n'
        + "\n".join(parts)
        + "\n</body></html>\n"
    )


def _summary(review: Review) -> str:
    compared = sum(one.version is not None for one in review.annotations)
    said = [f"{len(review.annotations)} annotations of {review.report.tasks} tasks, {compared} of them with a pre-label."]
    if review.requests:
        said.append(f"{review.requests} requests were recorded, {review.failed} of them without an answer.")
        said.append(f"{review.unused} of {review.objects} objects that were shown are in no annotation.")
    else:
        said.append("No request was recorded: clicks and seconds are not known.")
    return f"<p>{' '.join(said)}</p>"


def _plots(review: Review, tables: Tables) -> list[str]:
    paired = [one.iou for one in review.regions if one.status in ("kept", "edited") and one.iou is not None]
    apart = [one.boundary_px for one in review.regions if one.status == "edited" and one.boundary_px is not None]
    clicks = [float(one.clicks) for one in review.regions if one.clicks is not None]
    seconds = [one.seconds for one in review.regions if one.seconds is not None]
    drawn = [
        _figure("What became of pre-labels" + f'<div class="key">{_KEY}</div>', _stacked(tables)) if review.regions else "",
        _figure("IoU of pre-labels with the final regions", plots.histogram(paired, _BINS, "IoU")) if paired else "",
        _figure("How far edited boundaries were off", plots.histogram(apart, _wide(apart), "pixels")) if apart else "",
        _figure("Clicks an object", plots.histogram(clicks, _CLICKS, "clicks", _CLICK_NAMES)) if clicks else "",
        _figure("Seconds an object", plots.histogram(seconds, _SECONDS, "seconds (60 and more in the last bar)"))
        if seconds
        else "",
        _doubts(review, tables),
    ]
    return ['<div class="plots">', *drawn, "</div>"]


def _stacked(tables: Tables) -> str:
    largest = sorted(tables.labels, key=lambda one: -(one.kept + one.edited + one.deleted + one.added))[:_BARS]
    parts = [{"kept": one.kept, "edited": one.edited, "deleted": one.deleted, "added": one.added} for one in largest]
    return plots.stacked([(one.name or "(none)", counts) for one, counts in zip(largest, parts, strict=True)])


def _doubts(review: Review, tables: Tables) -> str:
    compared = [(one.score, one.agreement, one.task) for one in review.annotations]
    known = [(score, agreement, task) for score, agreement, task in compared if score is not None and agreement is not None]
    inside = [(score, agreement, task) for score, agreement, task in known if 0 <= score <= 1][:_POINTS]
    if not inside:
        return ""
    told = "Score of a prediction, and how well its annotation agrees"
    if tables.doubt is not None:
        told += f'<div class="note">rank correlation {tables.doubt:.2f}</div>'
    pairs = [(score, agreement) for score, agreement, _ in inside]
    return _figure(told, plots.points(pairs, [f"task {task}" for _, _, task in inside], "score", "agreement"))


def _wide(values: Sequence[float]) -> list[float]:
    """Twenty bins that hold nearly all."""
    top = max(sorted(values)[int(0.98 * (len(values) - 1))], 0.5)
    return [round(top * number / 20, 3) for number in range(21)]


def _figure(caption: str, plot: str) -> str:
    return f"<figure><figcaption>{caption}</figcaption>{plot}</figure>"


def _table(name: str, rows: Iterable[Row]) -> str:
    head = (
        name, "kept", "edited", "relabeled", "deleted", "added", "answered", "IoU", "boundary, px", "IoU of answers", "clicks",
        "seconds",
    )  # fmt: skip
    return _cells(head, [_row(one, name) for one in rows])


def _row(one: Row, name: str) -> list[str]:
    counts = (one.kept, one.edited, one.relabeled, one.deleted, one.added, one.answered)
    digits = ((one.iou, 3), (one.boundary_px, 2), (one.answer_iou, 3), (one.clicks, 2), (one.seconds, 1))
    return [one.name or ("(none)" if name else "all"), *map(str, counts), *(_number(*pair) for pair in digits)]


def _paces(tables: Tables) -> list[str]:
    timed = [one for one in tables.paces if one.timed]
    if not timed:
        return []
    head = ("annotator", "annotations", "objects", "seconds an annotation", "seconds an object")
    rows = [
        [
            one.annotator or "(none)",
            str(one.annotations),
            str(one.objects),
            _number(one.annotation_s, 1),
            _number(one.object_s, 1),
        ]
        for one in timed
    ]
    return ["<h2>Pace, as Label Studio tells</h2>", _cells(head, rows)]


def _worst(review: Review) -> list[str]:
    found = worst_tasks(review)[:_WORST]
    rows = [[str(task), _number(agreement, 3)] for task, agreement in found]
    return ["<h2>Tasks whose pre-labels agree least</h2>", _cells(("task", "agreement"), rows)] if rows else []


def _left_out(review: Review) -> list[str]:
    report = review.report.to_json()
    lines = [f"{count} {LEFT_OUT[code]}" for code, count in report["left_out"].items()]
    lines += [f"{one['where']}: {one['message']}" for one in report["problems"]]
    return ["<h2>Left out</h2>", "<ul>", *(f"<li>{_text(line)}</li>" for line in lines), "</ul>"] if lines else []


def _cells(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    top = "".join(f"<th>{_text(cell)}</th>" for cell in head)
    body = "".join(f"<tr>{''.join(f'<td>{_text(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def _number(value: float | None, places: int) -> str:
    return "-" if value is None else f"{value:.{places}f}"


def _text(value: str) -> str:
    return escape("".join(letter if letter.isprintable() else " " for letter in value))
