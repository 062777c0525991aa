"""The operator that compares pre-labels with what people made of them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from fiftyone.operators import types
from locara_label.hosts.fiftyone.progress import Progress, Summary
from locara_label.hosts.fiftyone.review import IOU, Comparison, compare, keep_copy, without_masks
from locara_label.runtime.session import Stop

from .forms import MASKS, Form, value
from .running import Work

COLUMNS = (
    ("label", "Label"), ("model", "Model"), ("threshold", "Threshold"), ("final", "Final"), ("found", "Found"),
    ("relabeled", "Relabeled"), ("removed", "Removed"), ("untouched", "Untouched"), ("mean_iou", "Mean IoU"),
)  # fmt: skip
COMPARE, COPY, MISSING = "compare", "copy", "missing"
WAYS = (
    (COMPARE, "Compare pre-labels with the final ones"),
    (COPY, "Keep a copy of pre-labels before people edit them"),
    (MISSING, "Show samples whose masks are missing"),
)


class Compare(Work):
    """Review of pre-labels."""

    name_, title = "compare", "Review pre-labels"
    about = "IoU of pre-labels and final labels per label, model and threshold; copies before editing; what has no mask"
    icon = "compare"

    def form(self, form: Form) -> None:
        way = form.choice("way", WAYS, COMPARE, "What to do")
        if way == COPY:
            self._copy(form)
        elif way == MISSING:
            form.label_field("final_field", "Field", MASKS)
        else:
            form.target("Compare")
            before = form.label_field("pre_field", "Pre-labels", MASKS)
            after = form.label_field("final_field", "Final labels", MASKS)
            if before is not None and before == after:
                form.refuse("final_field", "the same field; keep a copy of the pre-labels before people edit them")
        if form.is_video:
            form.refuse("way", "this works on pictures")

    def _copy(self, form: Form) -> None:
        field = form.label_field("pre_field", "Pre-labels", MASKS)
        form.new_field("copy", f"{field or 'pred'}_model", "Name of the copy")
        if form.ctx.dataset.has_field(form.get("copy", f"{field}_model")):
            form.refuse("copy", "there is such a field already")

    def execute(self, ctx: Any) -> Iterator[Any]:
        ctx.params["_comparison"] = None
        yield from super().execute(ctx)

    def steps(self, ctx: Any, stop: Stop) -> Iterator[Progress]:
        way, field = value(ctx, "way", COMPARE), value(ctx, "pre_field", "")
        if way == COPY:
            keep_copy(ctx.dataset, field, value(ctx, "copy", f"{field}_model"))
            return iter(())
        if way == MISSING:
            ctx.ops.set_view(without_masks(ctx.view, value(ctx, "final_field", "")))
            return iter(())
        comparison, steps = compare(ctx.target_view(), field, value(ctx, "final_field", ""), stop=stop)
        ctx.params["_comparison"] = comparison
        return steps

    def found(self, ctx: Any, summary: Summary) -> dict[str, Any]:
        result, comparison = super().found(ctx, summary), ctx.params.pop("_comparison", None)
        if not isinstance(comparison, Comparison):
            return {**result, "message": "done"}
        rows = [{**row.to_json(), "label": row.label or "all", "mean_iou": round(row.mean_iou, 4)} for row in comparison.rows()]
        edges, counts = comparison.histogram()
        middles = [round((low + high) / 2, 3) for low, high in pairwise(edges)]
        message = f"{rows[0]['final']} final regions, mean IoU {rows[0]['mean_iou']}"
        return {**result, "message": message, "rows": rows, "ious": [{"type": "bar", "x": middles, "y": counts}]}

    def shown(self, ctx: Any) -> list[str]:
        way, field = value(ctx, "way", COMPARE), value(ctx, "pre_field", "")
        return {COMPARE: [field + IOU], COPY: [value(ctx, "copy", f"{field}_model")]}.get(way, [])

    def resolve_output(self, ctx: Any) -> types.Property:
        found = super().resolve_output(ctx)
        if ctx.results.get("rows"):
            table = types.TableView()
            for name, label in COLUMNS:
                table.add_column(name, label=label)
            found.type.list("rows", types.Object(), view=table, label="By label")
            found.type.plot("ious", label="IoU of final regions with their pre-labels", layout={"height": 240}, height=240)
        return found
