"""Rows for people: a table on a terminal, aligned plain text in a pipe. NO_COLOR is honoured (no-color.org)."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pvehooks.wording import printable

COLOURS = {"block": "bold red", "warning": "yellow", "info": "cyan", "FAIL": "bold red", "WARN": "yellow", "INFO": "cyan", "PASS": "green"}


def on_terminal() -> bool:
    """Whether standard output is a terminal."""
    return sys.stdout.isatty()


def show(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints the rows; a cell that is a severity is coloured on a terminal."""
    clean = [[printable(cell) for cell in row] for row in rows]
    if on_terminal():
        _table(headers, clean)
    else:
        _plain(clean)


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    last = len(headers) - 1
    for number, header in enumerate(headers):
        table.add_column(header, overflow="fold", no_wrap=number != last and number < 2)
    for row in rows:
        table.add_row(*(Text(cell, style=COLOURS.get(cell, "")) for cell in row))
    Console().print(table)


def _plain(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
