"""How far the work on a view is, one value for each sample."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from locara_label.errors import LocaraError


@dataclass(frozen=True, slots=True)
class Progress:
    """One sample is done, or one frame of a video; what it got is saved already.

    Attributes:
        done, total: samples, this one included.
        regions: that the sample got.
        error: why it got nothing; None where it went well.
        note: what is missing though it went well, such as prompts without a mask.
        frames: of a video that is not done yet: how many of it are, and how many there are to do; None once it is.
    """

    done: int
    total: int
    sample_id: str
    filepath: str
    regions: int = 0
    error: LocaraError | None = None
    note: str = ""
    frames: tuple[int, int] | None = None

    @property
    def fraction(self) -> float:
        """In 0..1."""
        of_sample = 1.0 if self.frames is None else self.frames[0] / max(self.frames[1], 1)
        return (self.done - 1 + min(of_sample, 1.0)) / max(self.total, 1)

    @property
    def problem(self) -> str:
        """What went wrong or is missing, in words; empty where nothing is."""
        return f"[{self.error.code}] {self.error.message}" if self.error is not None else self.note

    def __str__(self) -> str:
        text = f"{self.done} of {self.total}"
        return text if self.frames is None else f"{text}, frame {self.frames[0]} of {self.frames[1]}"


@dataclass(frozen=True, slots=True)
class Summary:
    """What a whole run did: how many samples and regions, and the samples that failed or lack something."""

    samples: int
    regions: int
    failed: tuple[Progress, ...]
    noted: tuple[Progress, ...]

    def __str__(self) -> str:
        text = f"{self.regions} regions in {self.samples - len(self.failed)} samples"
        return f"{text}, {len(self.failed)} samples failed: {self.failed[0].problem:.300}" if self.failed else text

    def to_json(self) -> dict[str, object]:
        """For operators: counts, and the id and reason of each sample with a problem."""
        problems = [{"sample": one.sample_id, "file": one.filepath, "reason": one.problem} for one in (*self.failed, *self.noted)]
        return {"samples": self.samples, "regions": self.regions, "failed": len(self.failed), "problems": problems}


def summed(steps: Iterable[Progress]) -> Summary:
    """Does the work and says what came of it.

    Raises:
        LocaraError: what the work itself raises; samples that were done by then are saved.
    """
    samples, regions = 0, 0
    failed, noted = list[Progress](), list[Progress]()
    for step in (step for step in steps if step.frames is None):
        samples, regions = samples + 1, regions + step.regions
        if step.error is not None:
            failed.append(step)
        elif step.note:
            noted.append(step)
    return Summary(samples, regions, tuple(failed), tuple(noted))
