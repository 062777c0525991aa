"""A progress bar on standard error."""

from __future__ import annotations

import sys
from typing import Any, Self

from locara_label.cli.output import note


class Bar:
    """How much is done, rate and time left; shown on a terminal, unless `wanted` says whether."""

    def __init__(self, unit: str, total: int | None = None, *, wanted: bool | None = None) -> None:
        self._unit, self._total = unit, total
        self._shown = sys.stderr.isatty() if wanted is None else wanted
        self._bar: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def show(self, done: int, total: int | None = None) -> None:
        """So many are done; those of the first call count as done before."""
        if not self._shown:
            return
        if self._bar is None:
            from tqdm import tqdm

            total = total or self._total
            self._bar = tqdm(total=total, initial=done, unit=self._unit, file=sys.stderr, dynamic_ncols=True)
        self._bar.update(done - self._bar.n)
        if self._bar.total and done >= self._bar.total:  # or its clock would go on while results are written
            self._bar.close()

    def advance(self) -> None:
        """One more is done, after a first `show`."""
        if self._bar is not None:
            self.show(self._bar.n + 1)

    def say(self, text: str) -> None:
        """A line beside the bar."""
        if self._bar is None:
            note(text)
        else:
            self._bar.write(text, file=sys.stderr)
