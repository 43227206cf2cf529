"""The program pvehooksd: its command line, and how it starts and ends."""

from __future__ import annotations

import sys

from pvehooks import __version__
from pvehooks.daemon import lock, settings_in_force, startable
from pvehooks.daemon.availability import StuckError
from pvehooks.daemon.loop import Daemon
from pvehooks.daemon.stall import StallWatch
from pvehooks.errors import PvehooksError, SettingsError
from pvehooks.facts.cluster import nodes as node_facts
from pvehooks.host import Host
from pvehooks.journal import entries, output
from pvehooks.values.base import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

# EX_TEMPFAIL of sysexits.h: a bug ends with another status.
_NOT_NOW = 75


class DaemonOptions(NamedTuple):
    """What the command line says."""

    # A tree that stands for a node.
    root: str = "/"
    # The node to care for, '' for this one.
    node: str = ""
    # Whether to say whether the daemon may start, and to end.
    may_start: bool = False


def _kind(error: PvehooksError) -> str:
    """The kind of event that an error is which ends the daemon."""
    if isinstance(error, SettingsError):
        return "settings-broken"
    return "pmxcfs-stuck" if isinstance(error, StuckError) else "failed"


def parser() -> argparse.ArgumentParser:
    """The daemon's command line."""
    import argparse

    line = argparse.ArgumentParser(
        prog="pvehooksd",
        description="Watches the VM configs of a Proxmox VE node and gives UEFI VMs the rng0 they lack.",
        epilog="Example: pvehooksd --foreground --root /tmp/tree --node pve1",
    )
    line.add_argument("--foreground", action="store_true", help="accepted for clarity: it never goes into the background")
    line.add_argument("--root", default="/", metavar="DIR", help="a tree that stands for a node; nothing outside of it is touched")
    line.add_argument("--node", default="", metavar="NAME", help="the node to care for (default: this one)")
    line.add_argument("--may-start", action="store_true", help=f"end with {_NOT_NOW} and log why, if pmxcfs hangs or has left a dead mount")
    line.add_argument("--version", action="version", version=f"pvehooksd {__version__}")
    return line


def options_of(arguments: list[str]) -> DaemonOptions:
    """The options of a command line.

    systemd gives none: the daemon does without argparse, which it would keep for as long as it runs.
    """
    if not arguments:
        return DaemonOptions()
    given = parser().parse_args(arguments)
    return DaemonOptions(given.root, given.node, given.may_start)


def main(arguments: list[str] | None = None) -> int:
    """The program."""
    options = options_of(sys.argv[1:] if arguments is None else arguments)
    out = output.choose()
    if options.may_start:
        return 0 if startable.ensure_startable(Host(options.root), out) else _NOT_NOW
    try:
        host = Host(options.root)
        stall = StallWatch(host, out)
        stall.start()
        node = node_facts.node_name(host, options.node)
        node_facts.require_own(host, node)
        with lock.only_one(host):
            loaded = settings_in_force.load(host)
            lock.started(host)
            stall.node = node
            return Daemon(host, node, loaded, out, stall).run()
    except PvehooksError as error:
        if isinstance(error, SettingsError) and lock.remember_failure(options.root, error.message):
            return error.exit_status
        for problem in error.message.split("\n"):
            out.write(entries.event(_kind(error), f"{problem}. {error.hint}".rstrip(), ""))
        return error.exit_status
