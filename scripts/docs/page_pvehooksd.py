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
from pvehooks.journal.kind import DEBUG, ERR, INFO, NOTICE, WARNING
from scripts.docs import commandline, words
from scripts.docs.roff import Page, bold

DESCRIPTION = """\
`pvehooksd` looks at the config of every VM of its node when it starts and after every change.
A UEFI guest that needs an `rng0` and has none gets one through `qm set`; its config is backed up before and read back after.
What else it finds, it says in the journal: once when it appears, once when it changes, once when it is gone. What several guests have at one
look, as at the first one, is one line.

Guests that were on the node before pvehooks are not changed until somebody edits them or runs `pvehooks inject --all`. So are those that
come from a node without it, and, where the package is installed anew or the daemon has not run for a day, those made meanwhile. What an administrator takes out is not put back.

Guests with passed-through PCI devices, old ones too, get the guard as their hookscript, through `qm set` as well; it runs a hookscript
of their own first. At boot it waits up to 20 seconds for those that start by themselves. In a cluster it does so only as long as
all nodes have the package: each says so in /etc/pve/nodes/NODE/pvehooks.json. It keeps on this node every hookscript of the guard that a guest or
snapshot anywhere in the cluster names. Everything else is set in pvehooks.conf(5).

Normally systemd runs it as `pvehooks.service`. One instance runs on a node; each node of a cluster needs its own.
It starts, stops and restarts no guest.
"""
SIGNALS = {
    "SIGTERM, SIGINT": "End. A `qm` that is at work gets up to {grace:g} seconds for it.",
    "SIGHUP": "Read the settings anew and look at all guests again. If a file has a mistake, an error entry says so and the old"
    " settings stay in force. `systemctl reload pvehooks` sends it. It is rarely needed: a changed file is noticed at the next look.",
}
EXIT_STATUSES = {
    EXIT_OK: "It was asked to end.",
    EXIT_USAGE: "The command line or a settings file has a mistake. The message names it, with file and line.",
    EXIT_COULD_NOT_LOOK: "It cannot look at the node: not root, another instance runs, a settings file cannot be read,"
    " or /etc/pve stays dead for this process while pmxcfs works for others.",
}
WATCHED = {
    "/etc/pve/nodes/NODE/qemu-server": "Changes made on this node.",
    watch.MAPPINGS: "Changes of resource mappings.",
    watch.DATABASE: "The database of pmxcfs, written for every change in the cluster, also for those made on another node. The daemon"
    " then reads /etc/pve/.version and looks at the guests that changed.",
}
# What a field holds, and in which entries.
FIELDS = {
    "MESSAGE_ID": "One for each kind of event and for each rule: what `journalctl -x` looks the explanation up by.",
    "PVEHOOKS_EVENT": "The kind of event, see EVENTS.",
    "PVEHOOKS_NODE": "The node.",
    "PVEHOOKS_VMID": "The guest that the entry is about. An entry on several guests has the field once for each of them, so that"
    " `journalctl PVEHOOKS_VMID=100` finds it.",
    "PVEHOOKS_RULE": "The rule, in findings and in what follows from them. `advice` and `findings-gone` have it once for each rule.",
    "PVEHOOKS_FINDINGS": "In `findings`, `advice` and `findings-gone`: what is to be said of each guest, a line each.",
    "PVEHOOKS_DEVICE": "The option, device or file that the finding is about; in `device-bound` the device; in `firmware-` entries the image.",
    "PVEHOOKS_VERDICT": "In findings: `block` if the guest cannot or must not start, else `allow`. In `start-unexamined` what became of the start.",
    "PVEHOOKS_DIGEST": "Where a guest's config was changed: the SHA-1 of the new one.",
    "PVEHOOKS_BACKUP": "Where a guest's config was changed: the file that holds the config as it was before. In `host-fixed`: the directory with the"
    " files as they were.",
    "PVEHOOKS_FILES": "In `host-fixed` and `host-fix-undone`: the files that were changed, with a space between.",
    "PVEHOOKS_COMMANDS": "In `host-fixed` and `host-fix-undone`: the commands that were run, a line each.",
    "PVEHOOKS_BY": "In `start-allowed`: who allowed it. In `binding-changed`, `host-` and `firmware-` entries: who asked for it.",
    "PVEHOOKS_REASON": "In `start-allowed`: why.",
    "PVEHOOKS_TRACEBACK": "In `bug` and `guard-bug`: where it happened.",
}
FINDING = (
    "A rule has something to say of a guest, or of the node. Priority by severity: `err` for block, `warning`, or `info`. What more than two"
    " guests have at one look, is said together (`findings`, `advice`), unless it blocks."
)
PRIORITIES = {ERR: "err", WARNING: "warning", NOTICE: "notice", INFO: "info", DEBUG: "debug"}
METRICS = f"""\
Where Debian's prometheus-node-exporter is installed, figures for Prometheus are kept in {textfile.DIRECTORY}/{textfile.NAME};
`[metrics] textfile` in pvehooks.conf(5) puts the file elsewhere, for any reader of Prometheus' text format, or switches it off.
It is replaced as a whole, when a figure changes and after each look. When the daemon ends, it stays:
that nobody looks any more shows in `pvehooks_last_look_timestamp_seconds`. It goes with the package.

The `outcome` of a start is `passed` (nothing spoke against it), `refused`, `allowed` (it would have been refused, but a person allowed
it), `audited` (it would have been refused, but for `[guard] mode = audit`), `unexamined` (it could not be examined, and went on) or
`unexamined-refused`.

Example alerts: /usr/share/doc/pvehooks/examples/prometheus/pvehooks.rules.yml
"""
REMOVAL = {
    "apt remove pvehooks": "The service ends, and the node no longer tells the others of itself. Settings, records, backups, hookscripts, `rng0` and"
    " firmware images stay as they are. Guests start as before, those with the guard's hookscript unguarded: it says so in the task log, and runs their own"
    " hookscript all the same. Devices noted by `pvehooks bind --persist` stay with the host's drivers from the next boot on, and"
    " `pvehooks host undo` needs the package installed again.",
    "apt purge pvehooks": "Also takes the guard out of this node's guests and puts their own hookscripts back, and removes the hookscripts that nothing names"
    " any more, /etc/pvehooks, /var/lib/pvehooks (backups, the copies that `host undo` needs, the last report), /run/pvehooks and"
    " the figures for Prometheus; in /etc/pve/pvehooks what is this node's alone, and all of it where the cluster has no other node.",
    "What stays": "Each of these is told at the purge: a guest's `rng0`, an ordinary option of it; firmware images, and the `args` that name them;"
    " what `pvehooks host fix` changed; hookscripts that a guest or a snapshot names; the cluster's part of /etc/pve/pvehooks, and all of it while pmxcfs"
    " does not run or takes no writes; your own files in /etc/pvehooks and /etc/systemd/system/pvehooks.service.d. Not told: /var/lib/vz/snippets, the"
    " entries in the journal, and the files that you had `report` or `capture` write.",
}
EXAMPLES = {
    "All of today, with explanations:": "journalctl -x -t pvehooksd --since today",
    "One guest, its starts included:": "journalctl PVEHOOKS_VMID=100",
    "All guests that were given an rng0:": "journalctl -t pvehooksd PVEHOOKS_EVENT=injected",
    "All guests that were given the guard:": "journalctl -t pvehooksd PVEHOOKS_EVENT=attached",
    "What the guard refused, or let through with a word, at the starts of guests:": "journalctl -t pvehooks-guard",
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
    page.see_also("pvehooks(8)", "pvehooks.conf(5)", "pvehooks-rules(7)", "journalctl(1)", "systemd.journal-fields(7)", "pmxcfs(8)")
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
        "Beside that it looks every `[watch] interval` seconds, and only then where a watch could not be had; an entry says so."
        " A config is looked at when it has not changed for `[watch] settle` seconds."
    )
    page.paragraph(
        "It keeps nothing open below /etc/pve between two looks. While pmxcfs is away it waits for it; without quorum it waits with writing."
        " Both are said in the journal, and what is due is done afterwards. A locked guest is tried again with growing pauses."
    )


def _journal(page: Page) -> None:
    page.section("Journal fields")
    page.paragraph(
        f"Entries of the daemon have the identifier `{output.IDENTIFIER}` (journalctl -t {output.IDENTIFIER}), those of the guard at a start"
        f" `{journal.IDENTIFIER}`, those of what a person had `pvehooks host`, `bind` and `firmware` do `{audit.IDENTIFIER}`; -t may be given several times."
        " `journalctl -x` adds an explanation to each. On a terminal, or where there is no journald, the same is printed on standard error."
    )
    page.definitions(FIELDS.items())
    page.section("Events")
    page.paragraph("Values of `PVEHOOKS_EVENT`, with the priority of the entry:")
    page.tagged(bold("finding"), FINDING)
    for each in events.KINDS.values():
        page.tagged(f"{bold(each.name)} ({PRIORITIES[each.priority]})", f"{each.title}. {each.explanation}")
