"""pvehooks status: what the daemon and this node are about."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator

from pvehooks import __version__, instance
from pvehooks.cli import guarding, look, status_cluster
from pvehooks.errors import EXIT_OK
from pvehooks.facts import pmxcfs
from pvehooks.host import Host
from pvehooks.report import table, words
from pvehooks.values import Guest, Verdict

EXAMPLE = "pvehooks status"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    parser.add_argument("--cluster", action="store_true", help="what each node of the cluster says of itself")


def run(options: argparse.Namespace) -> int:
    """Prints the state."""
    seen = look.view(options)
    if options.cluster:
        return status_cluster.run(seen, options.json)
    verdicts = list(seen.verdicts(seen.guest_ids([])))
    look_at = seen.around.first_look
    if options.json:
        print(json.dumps(_state(seen, verdicts, int(look_at.time) if look_at else None), indent=2))
    else:
        first = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(look_at.time)) if look_at else "not yet (the daemon makes it)"
        table.show(("", ""), [*_rows(seen, verdicts), ("first look", first)])
    return EXIT_OK


def _state(seen: look.View, verdicts: list[Verdict], first_look: int | None) -> dict[str, object]:
    guests = [verdict.guest for verdict in verdicts]
    passing, unguarded = guarding.coverage(guests)
    return {
        "version": __version__,
        "node": seen.node,
        "daemon": _daemon(seen.host),
        "pmxcfs": _pmxcfs(seen.host),
        "mode": seen.settings.rng().mode,
        "guard_mode": seen.settings.guard().mode,
        "guests": len(verdicts),
        "blocked": sum(verdict.blocked for verdict in verdicts),
        "findings": _findings(verdicts),
        "passthrough": {"guests": len(passing), "guarded": len(passing) - len(unguarded), "unguarded": [each.vmid for each in unguarded]},
        "allowed": [guest.vmid for guest in guests if guarding.allowed(guest)],
        "lacking_entropy": [guest.vmid for guest in _lacking(verdicts)],
        "given_rng0": [guest.vmid for guest in guests if guest.recorded_rng],
        "first_look": first_look,
    }


def _rows(seen: look.View, verdicts: list[Verdict]) -> Iterator[tuple[str, str]]:
    guests = [verdict.guest for verdict in verdicts]
    blocked = sum(verdict.blocked for verdict in verdicts)
    yield "pvehooks", f"{__version__}, daemon {_daemon(seen.host)}"
    yield "node", f"{seen.node}, pmxcfs {_pmxcfs(seen.host)}"
    found = f"{words.counted(len(verdicts), 'VM')}, {words.counted(_findings(verdicts), 'finding')}, {blocked} would not start"
    yield "guests", found
    yield "guard", _guard(seen.settings.guard().mode, guests)
    allowed = [guest.label for guest in guests if guarding.allowed(guest)]
    if allowed:
        yield "allowed", f"whatever is found, the next start goes through of {words.and_more(allowed)}"
    yield "entropy", _entropy(seen.settings.rng().mode, [guest.label for guest in _lacking(verdicts)])
    yield "given rng0", words.and_more([guest.label for guest in guests if guest.recorded_rng]) or "none so far"


def _daemon(host: Host) -> str:
    return "running" if instance.runs(host) else "not running"


def _findings(verdicts: list[Verdict]) -> int:
    return sum(not item.ignored for verdict in verdicts for item in verdict.findings)


def _lacking(verdicts: list[Verdict]) -> list[Guest]:
    return [verdict.guest for verdict in verdicts if verdict.injection.due or verdict.injection.held]


def _guard(mode: str, guests: list[Guest]) -> str:
    passing, unguarded = guarding.coverage(guests)
    if not passing:
        return f"[guard] mode = {mode}; no guest has passed-through devices"
    have = f"{len(passing) - len(unguarded)} of {words.counted(len(passing), 'guest')} with passed-through devices have it"
    lacking = f", without it: {words.and_more([guest.label for guest in unguarded])}" if unguarded else ""
    return f"[guard] mode = {mode}; {have}{lacking}"


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
