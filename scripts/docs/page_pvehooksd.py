"""pvehooksd(8): the daemon."""

from __future__ import annotations

from pvehooks.cli import audit
from pvehooks.daemon import main, watch
from pvehooks.daemon.publish import textfile
from pvehooks.daemon.signals import QM_GRACE
from pvehooks.daemon.stats import Stats
from pvehooks.errors import EXIT_COULD_NOT_LOOK, EXIT_OK, EXIT_USAGE
from pvehooks.guard import journal
from pvehooks.guard.counters import OUTCOMES
from pvehooks.journal import events, output
from pvehooks.journal.kind import DEBUG, ERR, INFO, NOTICE, WARNING, Kind
from pvehooks.notify import sender
from scripts.docs import commandline, words
from scripts.docs.roff import Page, bold

DESCRIPTION = """\
`pvehooksd` checks the config of every VM of its node when it starts and after every change.
A UEFI VM that needs an `rng0` and has none gets one through Proxmox VE's own code, as with `qm set`; its config is backed up before and read back after.
Other findings are logged in the journal: once when they appear, change or go away. A finding that several VMs have at one time, as at the
first look, is one line.

VMs that were on the node before pvehooks are not changed until they are edited or `pvehooks inject --all` is run. The same applies to VMs
that come from a node without it, and, when the package was reinstalled or the daemon has not run for a day, to those created in the meantime. What an administrator removes is not added again.

VMs with passed-through PCI devices, existing ones too, get the guard as their hookscript, in the same way; it runs an existing
hookscript first. At boot, VMs that start automatically wait up to 20 seconds for it. In a cluster it attaches the guard only while
all nodes have the package: each publishes that in /etc/pve/nodes/NODE/pvehooks.json. It keeps on this node every hookscript of the guard that a VM or
snapshot anywhere in the cluster names. Everything else is set in pvehooks.conf(5).

Normally systemd runs it as `pvehooks.service`. One instance runs on a node; each node of a cluster needs its own.
It does not start, stop or restart VMs.
"""
SIGNALS = {
    "SIGTERM, SIGINT": "End. A running `qm` gets up to {grace:g} seconds to finish.",
    "SIGHUP": "Reload the settings and check all VMs again. If a file has an error, the journal says so and the old"
    " settings stay in force. `systemctl reload pvehooks` sends it. It is rarely needed: a changed file is noticed at the next look.",
}
EXIT_STATUSES = {
    EXIT_OK: "It was asked to end.",
    EXIT_USAGE: "The command line or a settings file has an error. The message names it, with file and line.",
    EXIT_COULD_NOT_LOOK: "The node cannot be read: not root, another instance runs, a settings file cannot be read,"
    " or /etc/pve stays dead for this process while pmxcfs works for others.",
}
WATCHED = {
    "/etc/pve/nodes/NODE/qemu-server": "Changes made on this node.",
    watch.MAPPINGS: "Changes of resource mappings.",
    watch.DATABASE: "The database of pmxcfs, written for every change in the cluster, also for those made on another node. The daemon"
    " then reads /etc/pve/.version and checks the VMs that changed.",
}
# What a field holds, and in which entries.
FIELDS = {
    "MESSAGE_ID": "One for each kind of event and for each rule; `journalctl -x` finds the explanation by it.",
    "PVEHOOKS_EVENT": "The kind of event, see EVENTS.",
    "PVEHOOKS_NODE": "The node.",
    "PVEHOOKS_VMID": "The VM that the entry is about. An entry about several VMs has the field once for each of them, so that"
    " `journalctl PVEHOOKS_VMID=100` finds it.",
    "PVEHOOKS_RULE": "The rule, in findings and in entries that follow from them. `advice` and `findings-gone` have it once for each rule.",
    "PVEHOOKS_FINDINGS": "In `findings`, `advice` and `findings-gone`: the finding of each VM, one line each.",
    "PVEHOOKS_DEVICE": "The option, device or file that the finding is about; in `device-bound` the device; in `firmware-` entries the image.",
    "PVEHOOKS_VERDICT": "In findings: `block` if the VM would not or must not start, else `allow`. In `start-unexamined`: whether the start was allowed.",
    "PVEHOOKS_DIGEST": "When the config of a VM was changed: the SHA-1 of the new config.",
    "PVEHOOKS_BACKUP": "When the config of a VM was changed: the file with the config as it was before. In `host-fixed`: the directory with the"
    " files as they were.",
    "PVEHOOKS_FILES": "In `host-fixed` and `host-fix-undone`: the files that were changed, separated by spaces.",
    "PVEHOOKS_COMMANDS": "In `host-fixed` and `host-fix-undone`: the commands that were run, one line each.",
    "PVEHOOKS_BY": "In `start-allowed`: who allowed it. In `binding-changed`, `host-` and `firmware-` entries: who ran the command.",
    "PVEHOOKS_CAUSE": "In `start-failed`: the id of the cause, as `pvehooks why` shows it; it is absent where the cause is not known.",
    "PVEHOOKS_UPID": "In `start-failed` and `start-works-again`: Proxmox VE's task.",
    "PVEHOOKS_REASON": "In `start-allowed`: why.",
    "PVEHOOKS_TRACEBACK": "In `bug` and `guard-bug`: where it happened.",
}
FINDING = (
    "A finding of a rule about a VM or the node. Priority by severity: `err` for block, `warning`, or `info`. When more than two"
    " VMs have the same finding at one time, they share an entry (`findings`, `advice`), unless it blocks. Where the guard refused a start for it, a"
    " message is sent (`[notify] refused_starts`)."
)
PRIORITIES = {ERR: "err", WARNING: "warning", NOTICE: "notice", INFO: "info", DEBUG: "debug"}
METRICS = f"""\
Where Debian's prometheus-node-exporter is installed, the daemon writes metrics for Prometheus to {textfile.DIRECTORY}/{textfile.NAME};
`[metrics] textfile` in pvehooks.conf(5) moves the file, for any reader of Prometheus' text format, or switches it off.
It is replaced as a whole, when a value changes and after each look. It stays when the daemon ends:
`pvehooks_last_look_timestamp_seconds` then no longer changes. It is removed with the package.

The `outcome` of a start is `passed` (no finding blocked it), `refused`, `allowed` (it would have been refused, but `pvehooks allow`
allowed it), `audited` (it would have been refused without `[guard] mode = audit`), `unexamined` (it could not be examined, and was allowed)
or `unexamined-refused` (it could not be examined, and was refused).

Example alerts: /usr/share/doc/pvehooks/examples/prometheus/pvehooks.rules.yml; a dashboard for Grafana beside it: pvehooks.dashboard.json
"""
REMOVAL = {
    "apt remove pvehooks": "The service ends, and the node no longer publishes its findings. The tags and the block in the node's notes (`[gui]`) are taken away. Settings, records, backups, hookscripts, `rng0` and"
    " firmware images stay as they are. VMs start as before, those with the guard's hookscript without its checks: it logs that in the task log, and still"
    " runs their own hookscript. They are listed with the commands that take it off; `pvehooks detach --all` does that before. Devices that `pvehooks bind --persist` recorded stay with the host's drivers from the next boot on, and"
    " `pvehooks host undo` needs the package installed again.",
    "apt purge pvehooks": "Also removes the guard from this node's VMs and restores their own hookscripts, and removes the hookscripts that nothing names"
    " any more, /etc/pvehooks, /var/lib/pvehooks (backups, the copies that `host undo` needs, the last report), /run/pvehooks and"
    " the metrics for Prometheus; in /etc/pve/pvehooks what belongs to this node alone, and all of it where the cluster has no other node.",
    "What stays": "The purge lists each of these: a VM's `rng0`, an ordinary option of it; firmware images, and the `args` that name them;"
    " what `pvehooks host fix` changed; hookscripts that a VM or a snapshot names; the cluster's part of /etc/pve/pvehooks, and all of it while pmxcfs"
    " does not run or takes no writes; your own files in /etc/pvehooks and /etc/systemd/system/pvehooks.service.d. It does not list /var/lib/vz/snippets,"
    " the entries in the journal, and the files that `report` or `capture` wrote for you.",
}
EXAMPLES = {
    "All of today, with explanations:": "journalctl -x -t pvehooksd --since today",
    "One VM, its starts included:": "journalctl PVEHOOKS_VMID=100",
    "All VMs that were given an rng0:": "journalctl -t pvehooksd PVEHOOKS_EVENT=injected",
    "All VMs that were given the guard:": "journalctl -t pvehooksd PVEHOOKS_EVENT=attached",
    "Starts that the guard refused, or allowed with a message:": "journalctl -t pvehooks-guard",
    "Warnings and errors, as they come:": "journalctl -t pvehooksd -p warning -f",
    "On a copy of a node's files, not as a service:": "pvehooksd --foreground --root /mnt/copy --node pve1",
}


def make(date: str) -> str:
    """The page."""
    page = Page("pvehooksd", 8, "watch the VM configs of a Proxmox VE node", date)
    arguments = commandline.of(main.parser())
    page.section("Synopsis")
    page.synopsis([" ".join((bold("pvehooksd"), *(commandline.usage(argument) for argument in arguments)))])
    page.section("Description")
    page.paragraphs(DESCRIPTION)
    page.section("Options")
    for argument in arguments:
        page.tagged(commandline.tag(argument), commandline.sentence(argument.help))
    _watching(page)
    page.section("Signals")
    page.definitions((name, text.format(grace=QM_GRACE)) for name, text in SIGNALS.items())
    page.section("Exit status")
    page.definitions((str(number), text) for number, text in EXIT_STATUSES.items())
    _journal(page)
    _metrics(page)
    words.files(page)
    page.section("Removal")
    page.definitions(REMOVAL.items())
    page.section("Examples")
    for text, commands in EXAMPLES.items():
        page.paragraph(text)
        page.example(commands.splitlines())
    page.see_also(
        "pvehooks-troubleshooting(7)",
        "pvehooks(8)",
        "pvehooks.conf(5)",
        "pvehooks-rules(7)",
        "journalctl(1)",
        "systemd.journal-fields(7)",
        "pmxcfs(8)",
    )
    return page.text()


def _metrics(page: Page) -> None:
    page.section("Metrics")
    page.paragraphs(METRICS)
    for metric in textfile.metrics("", Stats(), dict.fromkeys(OUTCOMES, 0), 0):
        labels = f"{{{', '.join(metric.labels)}}}" if metric.labels else ""
        page.tagged(f"{bold(metric.name)}{labels}", metric.help)


def _watching(page: Page) -> None:
    page.section("Watching")
    page.paragraph("Changes are noticed by inotify, usually within a second. It watches these directories:")
    page.definitions(WATCHED.items())
    page.paragraph(
        "In addition it checks for changes every `[watch] interval` seconds. Where a watch cannot be set up, this is the only way; the journal says so."
        " A config is checked when it has not changed for `[watch] settle` seconds."
    )
    page.paragraph(
        "It keeps nothing open below /etc/pve between two looks. While pmxcfs does not run it waits; without quorum it postpones writes."
        " Both are logged in the journal, and what is due is done afterwards. A locked VM is retried with growing pauses."
    )


def _journal(page: Page) -> None:
    page.section("Journal fields")
    page.paragraph(
        f"Entries of the daemon have the identifier `{output.IDENTIFIER}` (journalctl -t {output.IDENTIFIER}), those of the guard at a start"
        f" `{journal.IDENTIFIER}`, those of the commands `pvehooks host`, `bind` and `firmware` `{audit.IDENTIFIER}`, those"
        f" of the service that sends messages `{sender.IDENTIFIER}`; -t may be given several times."
        " `journalctl -x` adds an explanation to each. On a terminal, or where there is no journald, they are printed on standard error instead."
    )
    page.definitions(FIELDS.items())
    page.section("Events")
    page.paragraph("Values of `PVEHOOKS_EVENT`, with the priority of the entry:")
    page.tagged(bold("finding"), FINDING)
    for each in events.KINDS.values():
        page.tagged(f"{bold(each.name)} ({PRIORITIES[each.priority]})", f"{each.title}. {each.explanation}{_sent(each)}")


def _sent(kind: Kind) -> str:
    return f" A message is sent (`[notify] {kind.notify}`)." if kind.notify else ""
