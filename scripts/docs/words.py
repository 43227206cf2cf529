"""What several pages say in the same words."""

from __future__ import annotations

from pvehooks import errors
from pvehooks.actions import backups
from pvehooks.actions.host import history
from pvehooks.cli.commands import report
from pvehooks.daemon import baseline as daemon_baseline
from pvehooks.daemon import lock
from pvehooks.daemon.publish import textfile
from pvehooks.facts.cluster import members, summaries
from pvehooks.facts.pci import bindings
from pvehooks.guard import counters
from pvehooks.journal import reported
from pvehooks.records import baseline
from pvehooks.records import guests as records
from pvehooks.settings.compiled import CLUSTER_FILE, NODE_FILE
from scripts.docs.roff import Page

FILES = {
    CLUSTER_FILE: "The settings of all nodes of the cluster.",
    NODE_FILE: "The settings of this node. What it sets wins over the cluster's file.",
    baseline.path("NODE"): "When pvehooks came to the node, and which guests were there before it.",
    f"{records.DIRECTORY}/VMID.json": "What was done to a guest. It goes when the guest goes.",
    members.presence_path("NODE"): "Tells the other nodes that this one has the package.",
    summaries.path("NODE"): "What it tells them of its findings and PCI devices, see `[cluster] publish`.",
    "/var/lib/vz/snippets/pvehooks-guard*": "The guard's hookscripts. Without the package they run a guest's own hookscript all the same.",
    f"{bindings.DIRECTORY}/": "The PCI devices that `pvehooks bind --persist` noted, a file for each.",
    "/etc/pvehooks/hooks.d/": "Scripts for all guests that have the guard, run in every phase with VMID and PHASE, before the guard looks.",
    f"{history.DIRECTORY}/": f"The node's files as they were, a directory for each of the last {history.LIMIT} `pvehooks host fix` that can be undone.",
    f"{backups.DIRECTORY}/": f"The last {backups.KEPT} configs of each guest as they were before a change.",
    "STORAGE/efi-firmware/": "The firmware images that `pvehooks firmware import` put into a storage. They stay when the package goes.",
    report.STATE: "The last report that `pvehooks report` wrote to a file, which the next one is compared with.",
    f"{textfile.DIRECTORY}/{textfile.NAME}": "Figures for Prometheus, see METRICS.",
    f"{counters.DIRECTORY}/": "How often starts came to what: each file is as long as its number.",
    daemon_baseline.HERE: "That the daemon runs, noted once an hour, and that the node has had pvehooks since its first look.",
    reported.PATH: "The findings that were said already, so that a restarted daemon does not say them again.",
    lock.INSTANCE_LOCK: "The lock of the one daemon that may run.",
    f"{records.LOCKS}/": "Locks of the records.",
}
DAEMON_ONLY = (
    f"{textfile.DIRECTORY}/{textfile.NAME}",
    f"{counters.DIRECTORY}/",
    daemon_baseline.HERE,
    reported.PATH,
    lock.INSTANCE_LOCK,
    f"{records.LOCKS}/",
)

EXIT_STATUSES = {
    errors.EXIT_OK: "Nothing that blocks was found, or what was asked for was done.",
    errors.EXIT_BLOCKED: "A finding blocks the start of a guest, or what was asked for was refused or failed.",
    errors.EXIT_USAGE: "Wrong use: an unknown verb, option or rule, or a settings file with a mistake. The message names it.",
    errors.EXIT_COULD_NOT_LOOK: "The node or the guest could not be looked at: no such guest here, pmxcfs is down, not root.",
    errors.EXIT_INTERRUPTED: "Ended by Ctrl-C. What `check` had found by then is shown.",
}

SEVERITIES = {
    "block": "The guest cannot start, or must not. `pvehooks check` ends with 1. Journal priority err.",
    "warning": "Something does not work, or will not after the next change. Journal priority warning.",
    "info": "Good to know. Journal priority info.",
}


def files(page: Page, *paths: str) -> None:
    """The section FILES."""
    page.section("FILES")
    page.definitions((path, FILES[path]) for path in paths or tuple(FILES))
