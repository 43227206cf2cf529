"""Prometheus' text format. Source: prometheus.io, "Exposition formats", text-based format, version 0.0.4."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pvehooks.values.base import NamedTuple
from pvehooks.wording import printable

_ESCAPED = str.maketrans({"\\": r"\\", '"': r"\""})


class Metric(NamedTuple):
    """A metric: gauge or counter, what it is, its labels, and its numbers by the labels' values."""

    name: str
    kind: str
    help: str
    labels: tuple[str, ...]
    samples: Mapping[tuple[str, ...], int]


def text(metrics: Iterable[Metric]) -> bytes:
    """The file; a metric without a sample is left out. Labels' values may be any text, `help` is a line without a backslash."""
    return "".join(_lines(metric) for metric in metrics if metric.samples).encode()


def _lines(metric: Metric) -> str:
    head = f"# HELP {metric.name} {metric.help}\n# TYPE {metric.name} {metric.kind}\n"
    return head + "".join(f"{metric.name}{_labels(metric.labels, values)} {number}\n" for values, number in metric.samples.items())


def _labels(names: tuple[str, ...], values: tuple[str, ...]) -> str:
    if not names:
        return ""
    pairs = (f'{name}="{printable(value).translate(_ESCAPED)}"' for name, value in zip(names, values, strict=True))
    return "{" + ",".join(pairs) + "}"
