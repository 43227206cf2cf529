"""pvehooks backups: the configs kept before they were changed."""

from __future__ import annotations

import argparse
import difflib
import time

from pvehooks.actions import backups
from pvehooks.cli import envelope, guests, root, terminal
from pvehooks.errors import EXIT_OK, NodeError, UsageError
from pvehooks.facts.cluster import nodes as node_facts
from pvehooks.facts.guests import configs as guest_facts
from pvehooks.host import Host
from pvehooks.wording import printable

SUMMARY = "list the configs saved before a change, and show differences"
EXAMPLE = "pvehooks backups 100 --diff 1547e90"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    parser.add_argument("vmid", type=guests.vmid, metavar="VMID", help="the VM")
    parser.add_argument(
        "--diff",
        metavar="DIGEST",
        nargs="?",
        const="",
        help="show what differs between that backup (default: the newest) and the current config",
    )


def run(options: argparse.Namespace) -> int:
    """Lists the backups, the newest first, or shows a difference."""
    host = root.host(options)
    node = node_facts.node_name(host, options.node)
    if options.diff is not None:
        return _diff(host, node, options)
    kept = backups.of_guest(host, options.vmid)
    if options.json:
        # "time" is deprecated.
        listed = [{"digest": each.digest, "saved": int(each.when), "file": each.path, "time": int(each.when)} for each in kept]
        envelope.show(host, node, {"backups": listed})
    elif kept:
        terminal.table(("digest", "saved at", "file"), [(each.digest[:12], _when(each.when), each.path) for each in kept])
    else:
        print(f"VM {options.vmid}: no backups; they are made when pvehooks changes a config")
    return EXIT_OK


def _when(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def _diff(host: Host, node: str, options: argparse.Namespace) -> int:
    backup = backups.find(host, options.vmid, options.diff.lower())
    if backup is None:
        which = f" with digest '{printable(options.diff)}'" if options.diff else ""
        raise UsageError(f"VM {options.vmid} has no backup{which}", hint=f"List them: pvehooks backups {options.vmid}")
    try:
        now = guest_facts.read_raw(host, node, options.vmid)
    except FileNotFoundError:
        now = b""
    except OSError as error:
        raise NodeError(f"{node_facts.config_path(node, options.vmid)}: {error.strerror}") from error
    before = host.read(backup.path)
    lines = list(difflib.unified_diff(_lines(before), _lines(now), f"backup {backup.digest[:12]}", "now", lineterm=""))
    if options.json:
        envelope.show(host, node, {"digest": backup.digest, "diff": lines})
    elif lines:
        print("\n".join(lines))
    else:
        print("no difference")
    return EXIT_OK


def _lines(raw: bytes) -> list[str]:
    return [printable(line) for line in raw.decode("utf-8", "surrogateescape").split("\n")]
