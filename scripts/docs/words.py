"""Texts that several pages share."""

from __future__ import annotations

from pvehooks import errors
from pvehooks.actions import backups
from pvehooks.actions.host import history
from pvehooks.cli.commands import report
from pvehooks.daemon import baseline as daemon_baseline
from pvehooks.daemon import lock
from pvehooks.daemon.publish import textfile
from pvehooks.facts.cluster import members, summaries
from pvehooks.facts.pci import bindings, remembered
from pvehooks.facts.pci.devices import STARTED
from pvehooks.guard import counters
from pvehooks.journal import outbox, reported
from pvehooks.notify import channels
from pvehooks.records import baseline, boot_forecast
from pvehooks.records import guests as records
from pvehooks.settings.compiled import CLUSTER_FILE, NODE_FILE
from scripts.docs.roff import Page

FILES = {
    CLUSTER_FILE: "The settings of all nodes of the cluster.",
    NODE_FILE: "The settings of this node. They take precedence over the cluster's file.",
    baseline.path("NODE"): "When pvehooks was installed on the node, and which VMs existed then.",
    f"{records.DIRECTORY}/VMID.json": "What pvehooks did to a VM. It is removed with the VM.",
    members.presence_path("NODE"): "Shows the other nodes that this one has the package.",
    summaries.path("NODE"): "What this node publishes of its findings and PCI devices, see `[cluster] publish`.",
    "/var/lib/vz/snippets/pvehooks-guard*": "The guard's hookscripts. They run a VM's own hookscript also without the package.",
    f"{bindings.DIRECTORY}/": "The PCI devices that `pvehooks bind --persist` recorded, a file for each.",
    f"{remembered.DIRECTORY}/": "By what the devices of VMs and mappings are known again, a file for each VM and mapping; see `pvehooks follow`.",
    "/etc/pvehooks/hooks.d/": "Scripts for all VMs that have the guard, run in every phase with VMID and PHASE, before the guard's check. One that"
    " fails in pre-start refuses the start. Each has 300 seconds in a phase; then it is killed with all that it has started, which refuses nothing."
    " What it leaves running is not waited for, also where that has the output still.",
    f"{channels.PROGRAMS}/": "Programs that get each message to people, see MESSAGES in pvehooks(8).",
    f"{outbox.HOME}/": "Messages that are not handed over yet, and when others were.",
    f"{history.DIRECTORY}/": f"Copies of the node's files, a directory for each of the last {history.LIMIT} `pvehooks host fix` that can be undone.",
    f"{backups.DIRECTORY}/": f"The last {backups.KEPT} configs of each VM as they were before a change;"
    f" of VMs that no node has any more, the last {backups.KEPT_OF_GONE} in all.",
    "STORAGE/efi-firmware/": "The firmware images that `pvehooks firmware import` put into a storage. They stay when the package is removed.",
    boot_forecast.PATH: "What `pvehooks host check --next-boot` found last, for what this node publishes.",
    report.STATE: "The last report that `pvehooks report` wrote to a file; the next one is compared with it.",
    f"{textfile.DIRECTORY}/{textfile.NAME}": "Metrics for Prometheus, see METRICS.",
    f"{counters.DIRECTORY}/": "Counters of the outcomes of starts: the size of each file is the count.",
    daemon_baseline.INSTALLATION_NOTE: "Renewed by the daemon once an hour. It shows that the node has had pvehooks since its first look.",
    reported.PATH: "The findings that were logged already, so that a restarted daemon does not log them again.",
    lock.INSTANCE_LOCK: "The lock that keeps a second daemon from running.",
    f"{STARTED}/": "What the last start of each VM took, until its end was dealt with: a file for each, gone with the next boot.",
    f"{records.LOCKS}/": "Locks of the records.",
}
DAEMON_ONLY = (
    f"{textfile.DIRECTORY}/{textfile.NAME}",
    f"{counters.DIRECTORY}/",
    daemon_baseline.INSTALLATION_NOTE,
    reported.PATH,
    lock.INSTANCE_LOCK,
    f"{records.LOCKS}/",
)

EXIT_STATUSES = {
    errors.EXIT_OK: "Nothing blocks a start, or the command succeeded.",
    errors.EXIT_BLOCKED: "A finding blocks the start of a VM, or the command was refused or failed.",
    errors.EXIT_USAGE: "Wrong use: an unknown verb, option or rule, or a settings file with an error. The message names it.",
    errors.EXIT_COULD_NOT_LOOK: "The node or the VM could not be read: no such VM on this node, pmxcfs is down, not root.",
    errors.EXIT_INTERRUPTED: "Ended by Ctrl-C. `check` shows what it found until then.",
}

SEVERITIES = {
    "block": "The VM would not start, or must not start. `pvehooks check` ends with 1. Journal priority err.",
    "warning": "Something does not work, or will not work after the next change. Journal priority warning.",
    "info": "Good to know. Journal priority info.",
}


def files(page: Page, *paths: str) -> None:
    """The section FILES."""
    page.section("FILES")
    page.definitions((path, FILES[path]) for path in paths or tuple(FILES))
