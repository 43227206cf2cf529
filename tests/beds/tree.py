"""Fill a directory from a mapping or from one text file, in the manner of osbuild's make_fake_tree."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

TXTAR_MARKER = re.compile(r"^-- (?P<path>\S.*?) --$")


@dataclass(frozen=True)
class Link:
    """A symbolic link, with its target exactly as it is to be stored (absolute, relative, dangling or looping)."""

    target: str


Content = str | bytes | Link | None


def make_fake_tree(directory: str | Path, files: Mapping[str, Content]) -> Path:
    """Create every path of `files` below `directory`: text, bytes, a link, or (None) an empty directory."""
    root = Path(directory)
    # Plain strings, and each directory made once: tests make hundreds of thousands of files.
    made: set[str] = set()
    for path, content in files.items():
        target = os.path.join(root, path.strip("/"))
        parent = target if content is None else os.path.dirname(target)
        if parent not in made:
            os.makedirs(parent, exist_ok=True)
            made.add(parent)
        if isinstance(content, Link):
            os.symlink(content.target, target)
        elif content is not None:
            with open(target, "wb", buffering=0) as file:
                file.write(content if isinstance(content, bytes) else content.encode())
    os.makedirs(root, exist_ok=True)
    return root


def parse_txtar(text: str) -> dict[str, Content]:
    """Split a txtar archive (golang.org/x/tools/txtar) into path -> text.

    A file starts after a line `-- path --`. Two additions, both spelt in the marker: `-- path -> target --` is a
    symbolic link, `-- path/ --` an empty directory. What precedes the first marker is a comment.
    """
    files: dict[str, Content] = {}
    current: str | None = None
    lines: list[str] = []

    def finish() -> None:
        if current is not None:
            files[current] = "".join(lines)

    for line in re.findall(r"[^\n]*\n|[^\n]+", text):
        marker = TXTAR_MARKER.match(line.rstrip("\r\n"))
        if marker is None:
            lines.append(line)
            continue
        finish()
        current, lines = None, []
        path, arrow, target = marker["path"].partition(" -> ")
        if arrow:
            files[path] = Link(target)
        elif path.endswith("/"):
            files[path.rstrip("/")] = None
        else:
            current = path
    finish()
    return files


def make_tree_from_txtar(directory: str | Path, archive: str | Path) -> Path:
    """Fill `directory` from a txtar archive: a Path is read, a str is the archive's text itself."""
    text = archive.read_text(encoding="utf-8") if isinstance(archive, Path) else archive
    return make_fake_tree(directory, parse_txtar(text))
