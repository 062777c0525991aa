"""The tables of docs/models.md, from the catalogue that the package runs by.

python -m tools.catalogue_page
"""

from __future__ import annotations

from pathlib import Path

from locara_label.weights import catalogue
from locara_label.weights.catalogue import Licence, Row

PAGE = Path(__file__).parents[1] / "docs/models.md"
BEGIN, END = "<!-- from the catalogue -->\n\n", "\n<!-- end of the catalogue -->"
FAMILIES = {
    "segformer": "SegFormer: every pixel gets a class",
    "mask2former": "Mask2Former: objects and regions with classes",
    "selfie": "Selfie segmentation: people cut out",
    "sam2": "SAM 2.1: masks from clicks and boxes, and through video",
    "sam2-video": "SAM 2.1 through video, as others published it",
    "grounding-dino": "Grounding DINO: boxes from words",
}
_MEGABYTE = 1_000_000


def tables() -> str:
    """Every licence and every model, in Markdown."""
    rows = catalogue.rows()
    licences = {row.licence.id: row.licence for row in reversed(rows)}
    parts = ["### Licences", "", *_licences(list(licences.values()), rows)]
    for family, title in FAMILIES.items():
        parts += ["", f"### {title}", "", *_models([row for row in rows if row.family == family])]
    return "\n".join(parts) + "\n"


def with_tables(page: str) -> str:
    """The page with the tables of now."""
    before, _, rest = page.partition(BEGIN)
    return before + BEGIN + tables() + END + rest.partition(END)[2]


def _licences(licences: list[Licence], rows: tuple[Row, ...]) -> list[str]:
    lines = ["| licence | models | commercial use | before the download |", "| --- | --- | --- | --- |"]
    for one in licences:
        count = sum(row.licence == one for row in rows)
        accepted = "no | must be accepted" if one.must_accept else "yes | nothing to do"
        lines.append(f"| [{one.name}]({one.url}) | {count} | {accepted} |")
    return lines


def _models(rows: list[Row]) -> list[str]:
    lines = ["| name | task | licence | download | repository on the hub |", "| --- | --- | --- | --- | --- |"]
    return lines + [f"| `{row.name}` | {row.task} | {row.licence.id} | {_size(row)} | {_repository(row)} |" for row in rows]


def _size(row: Row) -> str:
    if row.bundled is not None:
        return "none, shipped"
    megabytes = (row.about_bytes or 0) / _MEGABYTE
    return f"{megabytes:.0f} MB" if megabytes >= 10 else f"{megabytes:.1f} MB"


def _repository(row: Row) -> str:
    return "" if row.repo is None else f"`{row.repo}`"


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text("utf-8")), "utf-8")
