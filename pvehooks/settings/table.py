"""What can be set: one table of options, from which the checks, the manual page, the completion and the shipped file are made."""

from __future__ import annotations

from pvehooks.settings.compiled import CLUSTER_FILE, NODE_FILE
from pvehooks.values.base import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["CLUSTER_FILE", "NODE_FILE", "OPTIONS", "Option", "Value", "conffile", "did_you_mean", "nearest", "written"]

Value = str | int | float | bool


class Option(NamedTuple):
    """An option. `check` is its configobj check (or ours: directory) with the default, `doc` one or two sentences for the manual.

    The names RULE-ID (any rule's id) and VMID in a section stand for what the admin fills in.
    """

    section: str
    name: str
    check: str
    doc: str
    per_guest: bool = False

    @property
    def kind(self) -> str:
        """The name of the check: option, integer, float, boolean, directory or force_list."""
        return self.check.partition("(")[0]

    @property
    def arguments(self) -> dict[str, str]:
        """The check's named arguments, as written."""
        return dict(part.split("=", 1) for part in self._parts() if "=" in part)

    @property
    def choices(self) -> tuple[str, ...]:
        """The values allowed, where they can be listed."""
        if self.kind == "boolean":
            return ("yes", "no")
        return tuple(part for part in self._parts() if "=" not in part)

    @property
    def default(self) -> Value | None:
        """The built-in value, None where there is none."""
        text = self.arguments.get("default")
        if text is None or self.kind == "force_list":
            return None
        if self.kind == "boolean":
            return text == "yes"
        if self.kind == "integer":
            return int(text)
        return float(text) if self.kind == "float" else text

    @property
    def allowed(self) -> str:
        """What may be written, in words."""
        if self.kind == "directory":
            return f"{', '.join(self.choices)} or the absolute path of a directory"
        if self.choices:
            return f"{', '.join(self.choices[:-1])} or {self.choices[-1]}"
        if self.kind == "force_list":
            return "rule-id: reason"
        number = "a whole number" if self.kind == "integer" else "a number"
        return f"{number} from {self.arguments['min']} to {self.arguments['max']}"

    def _parts(self) -> list[str]:
        return [part.strip() for part in self.check.partition("(")[2].rstrip(")").split(",")]


# The upper limits of max_bytes and period are QEMU's (hw/virtio/virtio-rng.c: below 2^63, and a uint32).
OPTIONS: tuple[Option, ...] = (
    Option(
        "rng",
        "mode",
        "option(inject, warn, off, default=inject)",
        "What happens to a UEFI guest that needs an rng0 and has none: it gets one, the journal says so, or nothing.",
        per_guest=True,
    ),
    Option(
        "rng",
        "source",
        "option(/dev/urandom, /dev/random, /dev/hwrng, default=/dev/urandom)",
        "Where the entropy of an injected rng0 comes from. /dev/hwrng needs a hardware generator on each node of the guest.",
        per_guest=True,
    ),
    Option(
        "rng",
        "max_bytes",
        "integer(min=0, max=9223372036854775807, default=1024)",
        "How many bytes an injected rng0 gives the guest in each period. 0 means without a limit.",
        per_guest=True,
    ),
    Option(
        "rng",
        "period",
        "integer(min=1, max=4294967295, default=1000)",
        "The length of the period of max_bytes, in milliseconds.",
        per_guest=True,
    ),
    Option(
        "rng",
        "scope",
        "option(needed, all, default=needed)",
        "Which UEFI guests get an rng0: those that need it to boot from the network or from a passed-through NVMe, or all.",
        per_guest=True,
    ),
    Option(
        "rng",
        "existing",
        "option(warn, inject, default=warn)",
        "What happens to guests that were there before pvehooks and are not edited: a warning, or an rng0 for them too.",
        per_guest=True,
    ),
    Option(
        "rng",
        "skip_with_rdrand",
        "boolean(default=yes)",
        "Whether guests whose CPU model has RDRAND are left as they are: their firmware has a source of entropy.",
        per_guest=True,
    ),
    Option(
        "rng",
        "writer",
        "option(auto, qm, file, default=auto)",
        "How an rng0 is written: by qm set, into the file under PVE's lock, or (auto) by qm on a node, else into the file.",
    ),
    Option(
        "guard",
        "mode",
        "option(enforce, audit, off, default=enforce)",
        "What happens at the start of a guest with passed-through devices that would take something from this node, or could not work: "
        "it is refused, it is shown and goes on, or nothing is looked at.",
        per_guest=True,
    ),
    Option(
        "guard",
        "unbound",
        "option(bind, block, leave, default=bind)",
        "What happens at a start to an idle passed-through device that is not bound to vfio-pci: the guard binds it, the start is refused, "
        "or it is left to Proxmox VE with a warning.",
        per_guest=True,
    ),
    Option(
        "guard",
        "attach",
        "option(auto, warn, off, default=auto)",
        "How the guard gets onto guests with passed-through devices that do not have it: by itself, the journal says who lacks it, or not at all.",
        per_guest=True,
    ),
    Option(
        "guard",
        "on_error",
        "option(known, allow, block, default=known)",
        "What happens to a start that the guard could not examine, because of a mistake of its own or a file that cannot be read: it goes on "
        "where devices and IOMMU groups are those of the last accepted start, always, or never.",
        per_guest=True,
    ),
    Option(
        "guard",
        "deadline",
        "integer(min=1, max=60, default=10)",
        "Seconds after which a look of the guard that hangs is given up. What then happens says on_error.",
        per_guest=True,
    ),
    Option(
        "firmware",
        "on_change",
        "option(block, warning, info, default=block)",
        "What becomes of the start of a guest whose firmware image is not the one that it was given (pvehooks firmware): it is refused, or "
        "goes on with a warning, or without a word.",
    ),
    Option(
        "watch",
        "interval",
        "integer(min=5, max=3600, default=60)",
        "Seconds between two looks at all guests that happen without any sign of a change.",
    ),
    Option(
        "watch",
        "settle",
        "float(min=0.05, max=5, default=0.2)",
        "Seconds without a further change after which a changed config is looked at.",
    ),
    Option(
        "cluster",
        "publish",
        "boolean(default=yes)",
        "Whether this node tells the others in /etc/pve what it found and which PCI devices it has. It is written when it changes, at "
        "most once a minute, and once an hour. To read it: pvehooks status --cluster and pvehooks check --target.",
    ),
    Option(
        "metrics",
        "textfile",
        "directory(auto, off, default=auto)",
        "Where figures for Prometheus go, as a file pvehooks.prom for its node_exporter: into that directory, into "
        "/var/lib/prometheus/node-exporter if that is there (auto), or nowhere. The service writes elsewhere only below /run/pvehooks, "
        "or with a ReadWritePaths= of your own.",
    ),
    Option(
        "rules",
        "RULE-ID",
        "option(block, warning, info)",
        "The severity of a rule instead of its own. pvehooks rules lists the ids.",
    ),
    Option(
        "guest VMID",
        "ignore",
        "force_list(default=list())",
        "Findings of this guest that do not count, each with the reason why: rule-id: reason. Several are separated by commas, "
        "or stand on lines of their own between triple quotes. In the node's file it replaces what the cluster's file ignores.",
    ),
)


def nearest(word: str, words: Iterable[str]) -> str:
    """The one of `words` that `word` was probably meant to be, or ''."""
    import difflib

    matches = difflib.get_close_matches(word.lower(), list(words), 1)
    return matches[0] if matches else ""


def did_you_mean(name: str) -> str:
    """The question at the end of a message, '' without a name."""
    return f"; did you mean {name}?" if name not in ("", "''") else ""


def written(value: Value) -> str:
    """A value as it is written in a file."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


# -- the shipped file -------------------------------------------------------------------------------------------------

_CONFFILE_HEAD = f"""\
# {NODE_FILE}: the settings of this node. pvehooks.conf(5) describes them.
#
# The settings of all nodes of the cluster go into {CLUSTER_FILE},
# in the same form; what this file sets wins. The values shown are the built-in ones.
# "pvehooks config" shows what is in effect, and where it was set.
# A change is noticed within [watch] interval; at once after: systemctl reload pvehooks
"""
_CONFFILE_TAIL = """\

# What a guest has of its own stands below its VMID.
#[guest 100]
#ignore = rng-missing: boots from its local disk only
#[[rng]]
#mode = warn
"""


def conffile() -> str:
    """The conffile as shipped: every option with its description and its default, commented out below its section."""
    import textwrap

    def prose(text: str) -> str:
        return textwrap.fill(text, 90, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False) + "\n"

    parts = [_CONFFILE_HEAD]
    fixed = [option for option in OPTIONS if option.default is not None]
    for section in dict.fromkeys(option.section for option in fixed):
        parts.append(f"\n[{section}]\n")
        for option in (option for option in fixed if option.section == section):
            default = written(option.default) if option.default is not None else ""
            limits = f"Allowed: {option.allowed}." + (" Also per guest." if option.per_guest else "")
            blank = "" if parts[-1].startswith("\n[") else "\n"
            parts.append(f"{blank}{prose(option.doc)}{prose(limits)}#{option.name} = {default}\n")
    severity = next(option for option in OPTIONS if option.section == "rules")
    parts.append(f"\n[rules]\n{prose(severity.doc)}{prose(f'Allowed: {severity.allowed}.')}#rng-missing = warning\n")
    return "".join(parts) + _CONFFILE_TAIL
