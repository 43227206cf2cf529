"""The config file as such: can it be read, and would PVE keep all of it?"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pvehooks.derived.config_lines import quoted
from pvehooks.rules.engine import RuleSet, not_examined
from pvehooks.values import Finding, Guest, Node, Severity

RULES = RuleSet(applies_to=lambda guest: bool(guest.problems or (guest.config and (guest.config.dropped or guest.config.newer))), order=10)
NEWER = "Look for a newer version: apt update && apt list --upgradable pvehooks"
"""The remedy where Proxmox VE has what pvehooks does not know yet."""
FILE = "config"


def _problem(id: str) -> Callable[[Guest, Node], Iterator[Finding]]:
    """The function of a rule on a problem that the reader of the file found and put into words."""

    def problem(guest: Guest, node: Node) -> Iterator[Finding]:
        for rule, words in guest.problems:
            if rule == id:
                yield Finding(FILE, words)

    return problem


def _reader_rule(id: str, severity: Severity, remedy: str, explanation: str) -> None:
    function = _problem(id)
    function.__doc__ = explanation
    RULES.rule(id, severity, remedy)(function)


_reader_rule(
    "config-unreadable",
    Severity.WARNING,
    "See what is wrong with it: ls -l /etc/pve/qemu-server/{vmid}.conf",
    """The config file cannot be read, so the VM is not examined.

    Either it vanished while it was read (a deletion, a migration), or reading it failed.
    """,
)
_reader_rule(
    "config-too-large",
    Severity.WARNING,
    "Look at what fills it: less /etc/pve/qemu-server/{vmid}.conf",
    """The config file is larger than 1 MiB, which pmxcfs does not allow; it is not examined.

    Source: pmxcfs, the limit of a file.
    """,
)
_reader_rule(
    "config-binary",
    Severity.WARNING,
    "Restore it from one of these: pvehooks backups {vmid}. Or restore the VM from its own backup",
    """The config file holds NUL bytes, as files do after a crash or a broken copy; nothing is written to it.""",
)
_reader_rule(
    "config-not-utf8",
    Severity.INFO,
    "If it is ISO 8859-1, convert it: iconv -f ISO-8859-1 -t UTF-8 /etc/pve/qemu-server/{vmid}.conf > /root/{vmid}.conf"
    " && cp /root/{vmid}.conf /etc/pve/qemu-server/{vmid}.conf",
    """The config file holds bytes that are no UTF-8. PVE keeps them, but shows them garbled.""",
)
_reader_rule(
    "config-crlf",
    Severity.INFO,
    "Change any option, and PVE writes it with Unix line ends",
    """The config file has Windows line ends. PVE reads it, and writes it with Unix line ends at its next change.""",
)
_reader_rule(
    "config-empty",
    Severity.INFO,
    "If the VM is not being created at this moment, restore it from one of these: pvehooks backups {vmid}",
    """The config file is empty: for PVE a VM with nothing but defaults, more likely damage from a crash or a full disk.""",
)
_reader_rule(
    "config-cut-short",
    Severity.WARNING,
    "Compare its end with a backup: pvehooks backups {vmid} --diff",
    """The config file does not end with a newline. PVE always writes one, so the file may have been cut off.""",
)


@RULES.rule("config-lines-dropped", Severity.WARNING, "Correct or remove the line, all of them are shown by: pvehooks guest {vmid}")
def config_lines_dropped(guest: Guest, node: Node) -> Iterator[Finding]:
    """PVE cannot read some lines of the config and will lose them when it next rewrites the file.

    That happens at every change in the web interface or by `qm set`, without a message. What the node's Proxmox VE knows and this version of
    pvehooks does not is kept, and not examined; the rest of its line is.
    Source: qemu-server, parse_vm_config; what the node's own code declares, read after each update.
    """
    for option, words in guest.config.newer if guest.config else ():
        why = f"Proxmox VE on {node.name} knows {words}, and this version of pvehooks does not"
        yield not_examined(option, why)._replace(remedy=NEWER)
    dropped = guest.config.dropped if guest.config else ()
    for line in dropped[:3]:
        where = f"in [{line.section}] " if line.section else ""
        yield Finding(
            line.text.partition(":")[0][:40] or FILE, f"PVE will lose a line {where}at the next change: {quoted(line.text)} ({line.reason})"
        )
    if len(dropped) > 3:
        yield Finding(FILE, f"PVE will lose {len(dropped) - 3} more lines at the next change")
