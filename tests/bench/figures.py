"""A figure beside its limit."""

from __future__ import annotations

from typing import NamedTuple


class Figure(NamedTuple):
    """What was measured, what it may be at most, and the reference in words."""

    name: str
    value: float
    limit: float
    unit: str
    reference: str = ""

    @property
    def met(self) -> bool:
        """Whether it keeps its limit."""
        return self.value <= self.limit

    def line(self) -> str:
        """The figure for a person."""
        number = f"{self.value:.2f}".rstrip("0").rstrip(".") or "0"
        return f"{'ok  ' if self.met else 'MISS'}  {self.name}: {number} {self.unit} (at most {self.limit:g}{'; ' + self.reference if self.reference else ''})"
