"""pvehooks-json(5): what the command line prints with --json."""

from __future__ import annotations

from pvehooks.cli.envelope import VERSION
from scripts.docs import schema
from scripts.docs.roff import Page, bold, inline
from scripts.docs.schema import Key

DESCRIPTION = f"""\
Every verb of pvehooks(8) takes `--json` and then prints one JSON object; `pvehooks check --format jsonl` prints one for each finding, a line each.
{schema.FILE} holds all of this as a JSON Schema, in which each document is found by its name, `#/$defs/check` for one.

Each document has the keys of the envelope, then its own. A key is of one type wherever it stands. Keys may be added at any time. A deprecated key
stays for one version beside what takes its place, and goes after that; `version`, {VERSION} now, goes up when something is taken away or means
another thing. Errors are on standard error, as text, and the exit status is as without `--json`.

Files that pvehooks keeps or that nodes exchange are not described here, and are not to be read by other programs.
"""
UPGRADE = """\
What was a bare array is an object now, with the array below a key: `backups`, `entries` (`capture --list`), `devices` (`bind`, `unbind`, `lend`,
`devices`), `guests` (`inject`, `undo`, `attach`, `detach`, `trust`, `mapping adopt`), `mappings` (`mapping check`) and `rules`, which is by id.
`version` was that of pvehooks in `status`, and is now in `pvehooks`. `time` was a number in `report` and in `check --format jsonl`.
"""


def make(date: str) -> str:
    """The page."""
    page = Page("pvehooks-json", 5, "the JSON that pvehooks prints", date)
    page.section("Description")
    page.paragraphs(DESCRIPTION)
    page.section("Envelope")
    _keys(page, schema.ENVELOPE)
    page.section("Documents")
    alike: dict[tuple[Key, ...], list[str]] = {}
    for headline in schema.documents():
        alike.setdefault(schema.table()[headline], []).append(headline)
    for keys, headlines in alike.items():
        page.subsection(", ".join(headlines))
        _keys(page, keys)
    page.section("Objects")
    for headline, keys in schema.table().items():
        if headline not in schema.documents():
            page.subsection(headline)
            _keys(page, keys)
    page.section("Upgrading from version 1")
    page.paragraphs(UPGRADE)
    page.see_also("pvehooks(8)", "jq(1)")
    return page.text()


def _keys(page: Page, keys: tuple[Key, ...]) -> None:
    for key in keys:
        missing = ", may be missing" if key.optional else ""
        words = f"Deprecated: see `{key.text}`." if key.deprecated else key.text
        page.tagged(f"{bold('any other' if key.name == '*' else key.name)} ({inline(_type(key.type))}{missing})", words)


def _type(text: str) -> str:
    """A type in words: "array of finding, or null"."""
    if text.endswith("?"):
        return f"{_type(text[:-1])} or null"
    if text.endswith("[]"):
        return f"array of {_type(text[:-2])}"
    if text.startswith("{"):
        return f"object of {_type(text[1:-1])}"
    return text
