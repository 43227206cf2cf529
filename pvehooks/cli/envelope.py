"""The envelope of all JSON that the command line prints. What is in it is described in scripts/docs/schema.txt."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping

from pvehooks.host import Host

# Goes up when something of the form is taken away or means another thing; more keys may come without.
VERSION = 2


def show(host: Host, node: str | None, content: Mapping[str, object]) -> None:
    """Prints a document; `node` is None for one that is about no node."""
    head = _head(host, node)
    print(json.dumps({**head, **content, **head}, indent=2))


def show_line(host: Host, node: str, content: Mapping[str, object]) -> None:
    """Prints a line of JSON, and does not wait for the next one."""
    print(json.dumps({**_head(host, node), **content}), flush=True)


def _head(host: Host, node: str | None) -> dict[str, object]:
    return {"version": VERSION, "node": node, "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(host.now()))}
