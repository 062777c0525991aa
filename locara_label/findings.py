"""What a check found, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; `remedy` says what to do and is empty only where nothing needs doing."""

    name: str
    status: Literal["ok", "warning", "problem"]
    text: str
    remedy: str = ""
