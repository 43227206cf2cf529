"""pvehooks status: what the daemon and this node are about."""

from __future__ import annotations

import argparse
import json
import time

from pvehooks import __version__, instance
from pvehooks.cli import look
from pvehooks.errors import EXIT_OK
from pvehooks.facts import pmxcfs
from pvehooks.host import Host
from pvehooks.report import table, words

EXAMPLE = "pvehooks status"


def arguments(parser: argparse.ArgumentParser) -> None:
    """The verb takes nothing of its own."""


def run(options: argparse.Namespace) -> int:
    """Prints the state."""
    seen = look.view(options)
    rng = seen.settings.rng()
    verdicts = list(seen.verdicts(seen.guest_ids([])))
    look_at = seen.around.first_look
    lacking = [verdict.guest for verdict in verdicts if verdict.injection.due or verdict.injection.held]
    state = {
        "version": __version__,
        "node": seen.node,
        "daemon": "running" if instance.runs(seen.host) else "not running",
        "pmxcfs": _pmxcfs(seen.host),
        "mode": rng.mode,
        "guests": len(verdicts),
        "blocked": sum(verdict.blocked for verdict in verdicts),
        "findings": sum(not item.ignored for verdict in verdicts for item in verdict.findings),
        "lacking_entropy": [guest.vmid for guest in lacking],
        "given_rng0": [verdict.guest.vmid for verdict in verdicts if verdict.guest.recorded_rng],
        "first_look": int(look_at.time) if look_at else None,
    }
    if options.json:
        print(json.dumps(state, indent=2))
        return EXIT_OK
    first = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(look_at.time)) if look_at else "not yet (the daemon makes it)"
    rows = [
        ("pvehooks", f"{__version__}, daemon {state['daemon']}"),
        ("node", f"{seen.node}, pmxcfs {state['pmxcfs']}"),
        (
            "guests",
            f"{words.counted(len(verdicts), 'VM')}, {words.counted(sum(not item.ignored for verdict in verdicts for item in verdict.findings), 'finding')}, {state['blocked']} would not start",
        ),
        ("entropy", _entropy(rng.mode, [guest.label for guest in lacking])),
        ("given rng0", words.and_more([verdict.guest.label for verdict in verdicts if verdict.guest.recorded_rng]) or "none so far"),
        ("first look", first),
    ]
    table.show(("", ""), rows)
    return EXIT_OK


def _entropy(mode: str, lacking: list[str]) -> str:
    count = f"without an rng0 that they need: {words.and_more(lacking)}" if lacking else "no guest lacks an rng0"
    return f"[rng] mode = {mode}; {count}"


def _pmxcfs(host: Host) -> str:
    if not host.is_node and not host.exists(f"{pmxcfs.PVE}/.version"):
        return "not looked for in a tree"
    try:
        return "answers" if pmxcfs.quorate(host) else "has no quorum"
    except pmxcfs.PmxcfsAway:
        return "does not answer"
