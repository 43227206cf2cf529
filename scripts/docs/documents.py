"""All generated documents: each file, and the function that makes it."""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

from pvehooks.settings import table
from scripts.docs import (
    catalog,
    completion,
    html,
    modules,
    page_conf,
    page_json,
    page_pvehooks,
    page_pvehooksd,
    page_rules,
    page_troubleshooting,
    schema,
)

PROJECT = Path(__file__).parents[2]
PAGES: dict[str, Callable[[str], str]] = {
    "man/pvehooks.8": page_pvehooks.make,
    "man/pvehooksd.8": page_pvehooksd.make,
    "man/pvehooks.conf.5": page_conf.make,
    "man/pvehooks-json.5": page_json.make,
    "man/pvehooks-rules.7": page_rules.make,
    "man/pvehooks-troubleshooting.7": page_troubleshooting.make,
}


def _as_html(make: Callable[[str], str]) -> str:
    """A page without its date."""
    return html.page(make(""))


OTHERS: dict[str, Callable[[], str]] = {
    "catalog/pvehooks.catalog": catalog.make,
    "completion/pvehooks": completion.make,
    "doc/examples/pvehooks.conf": table.example,
    "doc/schema.json": schema.make,
    "pvehooks/rules/start/__init__.py": modules.make,
    # Without a date.
    **{f"doc/html/{Path(name).name}.html": partial(_as_html, make) for name, make in PAGES.items()},
}
NAMES = (*PAGES, *OTHERS)

_DATE = re.compile(r"^\.TH .*?(\d{4}-\d\d-\d\d)", re.MULTILINE)


def made(name: str, there: str) -> str:
    """The document as the code generates it. A man page that is `there` keeps its date unless something else changes."""
    if name in OTHERS:
        return OTHERS[name]()
    date = _DATE.search(there)
    same = PAGES[name](date[1]) if date else ""
    return same if same and same == there else PAGES[name](_today())


def there(name: str, below: Path = PROJECT) -> str:
    """The document as it is in the checkout, '' if it is not."""
    path = below / name
    return path.read_text(encoding="utf-8") if path.exists() else ""


def drift(below: Path = PROJECT) -> list[str]:
    """The documents that differ from what the code generates."""
    return [name for name in NAMES if made(name, there(name, below)) != there(name, below)]


def write(below: Path = PROJECT) -> list[str]:
    """Regenerates all documents; returns those that changed."""
    changed = drift(below)
    for name in changed:
        path = below / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(made(name, there(name, below)), encoding="utf-8", newline="")
    return changed


def _today() -> str:
    """The day, or that of SOURCE_DATE_EPOCH (reproducible-builds.org)."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    now = datetime.datetime.fromtimestamp(int(epoch), datetime.UTC) if epoch else datetime.datetime.now(datetime.UTC)
    return now.strftime("%Y-%m-%d")
