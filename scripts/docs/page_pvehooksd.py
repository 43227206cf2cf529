"""pvehooksd(8): the daemon."""

from __future__ import annotations

from pvehooks import daemon, metrics, watch
from pvehooks.errors import EXIT_COULD_NOT_LOOK, EXIT_OK, EXIT_USAGE
from pvehooks.report import entries, sink
from pvehooks.starts import OUTCOMES
from pvehooks.tally import Tally
from scripts.docs import commandline, words
from scripts.docs.roff import Page, bold

DESCRIPTION = """\
`pvehooksd` looks at the config of every VM of its node when it starts and after every change.
A UEFI guest that needs an `rng0` and has none gets one through `qm set`; its config is backed up before and read back after.
What else it finds, it says in the journal: once when it appears, once when it changes, once when it is gone.

Guests that were there before pvehooks was first seen in the cluster are not changed until somebody edits them or runs
`pvehooks inject --all`. What an administrator takes out is not put back.

Guests with passed-through PCI devices, old ones too, get the guard as their hookscript, through `qm set` as well; it runs a hookscript
of their own first. At boot it waits up to 20 seconds for those that start by themselves. In a cluster it does so while all nodes have the
package: each says so in /etc/pve/nodes/NODE/pvehooks.json. It keeps on this node every hookscript of the guard that a guest or
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
    "PVEHOOKS_VMID": "The guest, where the entry is about one.",
    "PVEHOOKS_RULE": "The rule, in findings and in what follows from them.",
    "PVEHOOKS_DEVICE": "The option, device or file that the finding is about; in `device-bound` the device.",
    "PVEHOOKS_VERDICT": "In findings: `block` if the guest cannot or must not start, else `allow`. In `start-unexamined` what became of the start.",
    "PVEHOOKS_DIGEST": "In `injected` and `attached`: the SHA-1 of the new config.",
    "PVEHOOKS_BACKUP": "In `injected` and `attached`: the file that holds the config as it was before. In `host-fixed`: the directory with the"
    " files as they were.",
    "PVEHOOKS_FILES": "In `host-fixed` and `host-fix-undone`: the files that were changed, with a space between.",
    "PVEHOOKS_COMMANDS": "In `host-fixed` and `host-fix-undone`: the commands that were run, a line each.",
    "PVEHOOKS_BY": "In `start-allowed`: who allowed it. In `binding-changed`, `host-fixed`, `host-not-fixed` and `host-fix-undone`: who asked for it.",
    "PVEHOOKS_REASON": "In `start-allowed`: why.",
    "PVEHOOKS_TRACEBACK": "In `bug` and `guard-bug`: where it happened.",
}
FINDING = "A rule has something to say of a guest. Priority by severity: `err` for block, `warning`, or `info`."
PRIORITIES = {entries.ERR: "err", entries.WARNING: "warning", entries.NOTICE: "notice", entries.INFO: "info", entries.DEBUG: "debug"}
METRICS = f"""\
Where Debian's prometheus-node-exporter is installed, figures for Prometheus are kept in {metrics.DIRECTORY}/{metrics.NAME};
`[metrics] textfile` in pvehooks.conf(5) puts the file elsewhere, for any reader of Prometheus' text format, or switches it off.
It is replaced as a whole, when a figure changes and after each look. When the daemon ends, it stays:
that nobody looks any more shows in `pvehooks_last_look_timestamp_seconds`. It goes with the package.

The `outcome` of a start is `passed` (nothing spoke against it), `refused`, `allowed` (it would have been refused, but a person allowed
it), `audited` (it would have been refused, but for `[guard] mode = audit`), `unexamined` (it could not be examined, and went on) or
`unexamined-refused`.

Example alerts: /usr/share/doc/pvehooks/examples/prometheus/pvehooks.rules.yml
"""
EXAMPLES = {
    "All of today, with explanations:": "journalctl -x -t pvehooksd --since today",
    "One guest:": "journalctl -t pvehooksd PVEHOOKS_VMID=100",
    "All guests that were given an rng0:": "journalctl -t pvehooksd PVEHOOKS_EVENT=injected",
    "All guests that were given the guard:": "journalctl -t pvehooksd PVEHOOKS_EVENT=attached",
    "Warnings and errors, as they come:": "journalctl -t pvehooksd -p warning -f",
    "On a copy of a node's files, not as a service:": "pvehooksd --foreground --root /mnt/copy --node pve1",
}


def make(date: str) -> str:
    """The page."""
    page = Page("pvehooksd", 8, "watch the VM configs of a Proxmox VE node", date)
    arguments = commandline.of(daemon.parser())
    page.section("Synopsis")
    page.synopsis([" ".join((bold("pvehooksd"), *(commandline.usage(argument) for argument in arguments)))])
    page.section("Description")
    page.paragraphs(DESCRIPTION)
    page.section("Options")
    for argument in arguments:
        page.tagged(commandline.tag(argument), commandline.sentence(argument.help))
    _watching(page)
    page.section("Signals")
    page.definitions((name, text.format(grace=daemon._QM_GRACE)) for name, text in SIGNALS.items())
    page.section("Exit status")
    page.definitions((str(number), text) for number, text in EXIT_STATUSES.items())
    _journal(page)
    _metrics(page)
    words.files(page)
    page.section("Examples")
    for text, commands in EXAMPLES.items():
        page.paragraph(text)
        page.example(commands.splitlines())
    page.see_also("pvehooks(8)", "pvehooks.conf(5)", "pvehooks-rules(7)", "journalctl(1)", "systemd.journal-fields(7)", "pmxcfs(8)")
    return page.text()


def _metrics(page: Page) -> None:
    page.section("Metrics")
    page.paragraphs(METRICS)
    for metric in metrics.metrics("", Tally(), dict.fromkeys(OUTCOMES, 0), 0):
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
        f"Entries have the identifier `{sink.IDENTIFIER}` (journalctl -t {sink.IDENTIFIER}). `journalctl -x` adds an explanation to each."
        " On a terminal, or where there is no journald, the same is printed on standard error."
    )
    page.definitions(FIELDS.items())
    page.section("Events")
    page.paragraph("Values of `PVEHOOKS_EVENT`, with the priority of the entry:")
    page.tagged(bold("finding"), FINDING)
    for kind in entries.KINDS.values():
        page.tagged(f"{bold(kind.name)} ({PRIORITIES[kind.priority]})", f"{kind.title}. {kind.explanation}")
