"""What a terminal shows, as a picture: SVG, made of its lines and of the colours that they are in."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

# SGR parameters (ECMA-48) -> CSS.
_STYLES = {
    "1": "font-weight:bold",
    "2": "opacity:.7",
    "31": "fill:#ff7b72",
    "32": "fill:#7ee787",
    "33": "fill:#e3b341",
    "36": "fill:#79c0ff",
}
_CODE = re.compile(r"\x1b\[([0-9;]*)m")
# In pixels: a character's width and a line's height at the size below, and the edge around.
_SIZE, _WIDTH, _HEIGHT, _EDGE = 14, 8.43, 20, 16


def picture(screen: str, columns: int) -> str:
    """The screen as an SVG file."""
    lines = screen.rstrip("\n").split("\n")
    width, height = round(columns * _WIDTH) + 2 * _EDGE, len(lines) * _HEIGHT + 2 * _EDGE
    rows = "".join(f"{row}\n" for row in _rows(lines))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">\n'
        f'<rect width="{width}" height="{height}" rx="8" fill="#0d1117"/>\n'
        f'<g font-family="ui-monospace,Menlo,Consolas,DejaVu Sans Mono,monospace" font-size="{_SIZE}" fill="#e6edf3" style="white-space:pre">\n'
        f"{rows}</g>\n</svg>\n"
    )


def _rows(lines: list[str]) -> Iterator[str]:
    codes: list[str] = []
    for number, line in enumerate(lines):
        spans: list[str] = []
        # Some viewers drop blanks at the beginning.
        indent = len(_CODE.sub("", line)) - len(_CODE.sub("", line).lstrip())
        for at, part in enumerate(_CODE.split(line)):
            if at % 2:
                codes = [] if part in ("", "0") else [*codes, *part.split(";")]
            elif part.strip(" ") or spans:
                style = ";".join(_STYLES[code] for code in codes)
                text = html.escape(part if spans else part.lstrip(" "), quote=False)
                spans.append(f'<tspan style="{style}">{text}</tspan>' if style else text)
        if spans:
            yield f'<text x="{_EDGE + indent * _WIDTH:.1f}" y="{_EDGE + (number + 1) * _HEIGHT - 6}">{"".join(spans)}</text>'
