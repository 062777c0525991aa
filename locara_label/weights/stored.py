"""One tensor inside a memory-mapped weights file."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

BFLOAT16 = np.dtype([("bfloat16", "<u2")])
"""The upper half of a float32; numpy has no such type."""
MAX_DIMS = 16
MAX_NUMBER = 1 << 48


@dataclass(frozen=True)
class Stored:
    """Bytes of one tensor; `strides` counts elements and is None for a contiguous tensor."""

    data: memoryview
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    strides: tuple[int, ...] | None = None

    @property
    def is_sensible(self) -> bool:
        """Whether numpy can hold it, and no element stands for many: a small file must not describe a huge tensor."""
        steps = self.strides or ()
        return (
            len(self.shape) <= MAX_DIMS
            and all(0 <= number <= MAX_NUMBER for number in (*self.shape, *steps))
            and math.prod(self.shape) * self.dtype.itemsize <= len(self.data)
            and math.prod(dim or 1 for dim in self.shape) <= MAX_NUMBER
        )

    @property
    def bytes_needed(self) -> int:
        """How many bytes the last element needs to end at."""
        if 0 in self.shape:
            return 0
        if self.strides is None:
            return math.prod(self.shape) * self.dtype.itemsize
        last = sum((dim - 1) * stride for dim, stride in zip(self.shape, self.strides, strict=True))
        return (last + 1) * self.dtype.itemsize

    def array(self) -> NDArray[Any]:
        """A read-only view of the file; bfloat16 becomes a float32 copy."""
        flat: NDArray[Any] = np.frombuffer(self.data[: self.bytes_needed], self.dtype)
        if self.dtype == BFLOAT16:
            flat = (flat["bfloat16"].astype("<u4") << 16).view("<f4")
        if self.strides is None:
            return flat.reshape(self.shape)
        steps = tuple(stride * flat.itemsize for stride in self.strides)
        return np.lib.stride_tricks.as_strided(flat, self.shape, steps, writeable=False)
