"""The table of all options. The checks, the manual page, the completion and the shipped file are generated from it."""

from __future__ import annotations

from pvehooks.settings.compiled import CLUSTER_FILE, NODE_FILE
from pvehooks.values.base import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["CLUSTER_FILE", "NODE_FILE", "OPTIONS", "Option", "Value", "did_you_mean", "example", "nearest", "written"]

Value = str | int | float | bool


class Option(NamedTuple):
    """An option.

    The names RULE-ID (any rule's id) and VMID in a section stand for what the admin fills in.
    """

    section: str
    name: str
    # Its configobj check (or ours: directory) with the default.
    check: str
    # One or two sentences for the manual.
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
        return tuple(part for part in self._parts() if part and "=" not in part)

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
        if self.kind == "driver":
            return "a driver of the node, not vfio-pci"
        if self.kind == "directory":
            return f"{', '.join(self.choices)} or the absolute path of a directory"
        if self.kind == "methods":
            return f"{', '.join(self.choices[:-2])} (several with commas), or none or remove-rescan alone"
        if len(self.choices) == 1:
            return self.choices[0]
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
        "What happens to a UEFI VM that needs an rng0 and has none: it gets one (inject), the journal reports it (warn), or nothing (off).",
        per_guest=True,
    ),
    Option(
        "rng",
        "source",
        "option(/dev/urandom, /dev/random, /dev/hwrng, default=/dev/urandom)",
        "The source of random numbers of an injected rng0. /dev/hwrng needs a hardware generator on each node where the VM runs.",
        per_guest=True,
    ),
    Option(
        "rng",
        "max_bytes",
        "integer(min=0, max=9223372036854775807, default=1024)",
        "How many bytes an injected rng0 gives the VM in each period. 0 means no limit.",
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
        "Which UEFI VMs get an rng0: those that need it to boot from the network or from a passed-through NVMe, or all.",
        per_guest=True,
    ),
    Option(
        "rng",
        "existing",
        "option(warn, inject, default=warn)",
        "What happens to VMs that existed before pvehooks and are not edited: a warning, or an rng0 for them too.",
        per_guest=True,
    ),
    Option(
        "rng",
        "skip_with_rdrand",
        "boolean(default=yes)",
        "Whether VMs whose CPU model has RDRAND are left unchanged: their firmware has a source of random numbers.",
        per_guest=True,
    ),
    Option(
        "rng",
        "writer",
        "option(auto, qm, file, default=auto)",
        "How an rng0, or a hookscript, is written: by a qm for each VM, into the file under PVE's lock, or (auto) by Proxmox VE's own code in one "
        "process for all VMs, by qm where that cannot be loaded, and into the file elsewhere.",
    ),
    Option(
        "guard",
        "mode",
        "option(enforce, audit, off, default=enforce)",
        "What happens at the start of a VM with passed-through devices when the start would take something from this node, or could not work: "
        "it is refused (enforce), the reason is logged and the start continues (audit), or nothing is checked (off).",
        per_guest=True,
    ),
    Option(
        "guard",
        "unbound",
        "option(bind, block, leave, default=bind)",
        "What happens at a start to an unused passed-through device that is not bound to vfio-pci: the guard binds it (bind), the start is "
        "refused (block), or Proxmox VE binds it and a warning is logged (leave).",
        per_guest=True,
    ),
    Option(
        "guard",
        "attach",
        "option(auto, warn, off, default=auto)",
        "Whether VMs with passed-through devices get the guard: automatically (auto), only a journal entry for each that lacks it (warn), or not at all "
        "(off).",
        per_guest=True,
    ),
    Option(
        "guard",
        "on_error",
        "option(known, allow, block, default=known)",
        "What happens to a start that the guard could not examine, because of a bug or a file that cannot be read: it continues "
        "if devices and IOMMU groups are those of the last accepted start (known), always (allow), or never (block).",
        per_guest=True,
    ),
    Option(
        "guard",
        "deadline",
        "integer(min=1, max=60, default=10)",
        "Seconds after which a check of the guard that hangs is ended. on_error then decides about the start. After a stop the look at the "
        "devices ends then, and goes on in the background.",
        per_guest=True,
    ),
    Option(
        "guard",
        "after_stop",
        "option(keep, return, default=keep)",
        "What happens after a VM's end to the devices that its start took from drivers of this node: they stay with vfio-pci (keep), as Proxmox VE "
        "has it, or go back to the drivers they had (return). Also per device.",
        per_guest=True,
    ),
    Option(
        "device DEVICE",
        "after_stop",
        "option(keep, return)",
        "The same for this device, whichever VM had it.",
    ),
    Option(
        "device DEVICE",
        "return_to",
        "driver",
        "The driver that the device is given back to, instead of the one it had before the start. It is also given to one that often hangs or "
        "crashes when a device is taken from it again, and back from vfio-pci if it was there before the start.",
    ),
    Option(
        "device DEVICE",
        "reset",
        "methods(flr, af_flr, pm, bus, cxl_bus, device_specific, acpi, none, remove-rescan)",
        "How the device is reset while a VM has it: by these methods of the kernel in this order, not at all (none), or by taking it off the bus "
        "before each start and looking for it again (remove-rescan). A bus reset hits all that is behind the same bridge. Undone after the stop.",
    ),
    Option(
        "device DEVICE",
        "d3cold",
        "boolean",
        "Whether the kernel may switch the device's power off while nothing uses it; no helps where it does not come back. From the first start on, for "
        "as long as vfio-pci has the device.",
    ),
    Option(
        "device DEVICE",
        "before_start",
        "option(rescan)",
        "Before each start the device is taken off the bus and looked for again (rescan), if nothing uses it: for one that is dead after a stop. "
        "The start is refused if it does not come back, or another device does.",
    ),
    Option(
        "firmware",
        "on_change",
        "option(block, warning, info, default=block)",
        "What happens to the start of a VM whose firmware image is not the one that it was given (pvehooks firmware): it is refused (block), "
        "continues with a warning (warning), or without a message (info).",
    ),
    Option(
        "watch",
        "interval",
        "integer(min=5, max=3600, default=60)",
        "Seconds between two regular checks for changes, in addition to those that inotify reports.",
    ),
    Option(
        "watch",
        "settle",
        "float(min=0.05, max=5, default=0.2)",
        "Seconds without a further change after which a changed config is checked.",
    ),
    Option(
        "watch",
        "detach_after",
        "integer(min=0, max=86400, default=600)",
        "Seconds without a passed-through device and without a firmware image of its own after which the guard leaves a VM. A device that is removed "
        "and added again within that time is never without the guard.",
    ),
    Option(
        "cluster",
        "publish",
        "boolean(default=yes)",
        "Whether this node publishes its findings and its PCI devices for the other nodes in /etc/pve. They are written when they change, at "
        "most once a minute, and once an hour. They are used by: pvehooks status --cluster and pvehooks check --target.",
    ),
    Option(
        "metrics",
        "textfile",
        "directory(auto, off, default=auto)",
        "Where metrics for Prometheus are written, as a file pvehooks.prom for its node_exporter: to /var/lib/prometheus/node-exporter if that "
        "exists (auto), nowhere (off), or to this directory. The service can write elsewhere only below /run/pvehooks, "
        "or with a ReadWritePaths= of your own.",
    ),
    Option(
        "notify",
        "refused_starts",
        "boolean(default=yes)",
        "Whether a message is sent about a start that the guard refused, or could not examine.",
    ),
    Option(
        "notify",
        "failed_starts",
        "option(node, all, off, default=node)",
        "About which other failed starts a message is sent: those for which the VM's own config or lock is not the cause (node), all, or none (off).",
    ),
    Option(
        "notify",
        "dead_devices",
        "boolean(default=yes)",
        "Whether a message is sent about a passed-through device that is dead after its VM's end.",
    ),
    Option(
        "notify",
        "boot",
        "boolean(default=yes)",
        "Whether a message is sent about the node's boot: VMs that would not start with the next kernel, devices that are not bound as noted.",
    ),
    Option(
        "notify",
        "errors",
        "boolean(default=yes)",
        "Whether a message is sent about errors of pvehooks itself: a daemon that cannot run, a failed change, settings that cannot be used, a bug.",
    ),
    Option(
        "notify",
        "per_hour",
        "integer(min=1, max=60, default=6)",
        "How many messages are sent in an hour at most. What happens meanwhile is sent later, in one message.",
    ),
    Option(
        "notify",
        "digest",
        "boolean(default=no)",
        "Whether a summary is sent once a week: which VMs would not or must not start, how many findings there are.",
    ),
    Option(
        "gui",
        "tags",
        "boolean(default=no)",
        "Whether VMs have a tag: pvehooks-blocked for one that would not or must not start, pvehooks-warning for one that would start with a "
        "warning. VMs' configs are written for that, also where [rng] mode is warn or off and [guard] mode audit or off. All other tags "
        "stay, and these follow what is found after two minutes.",
    ),
    Option(
        "gui",
        "node_notes",
        "boolean(default=no)",
        "Whether the node's notes have a block that says which VMs would not or must not start, or have a warning, and which devices are free. All "
        "around it stays as it is. It is written when it says something else, every ten minutes at most.",
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
        "Findings of this VM that do not count, each with the reason why: rule-id: reason. Several are separated by commas, "
        "or are on lines of their own between triple quotes. In the node's file it replaces what the cluster's file ignores.",
    ),
)


def nearest(word: str, words: Iterable[str]) -> str:
    """The one of `words` that is most similar to `word`, '' if none is similar enough."""
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


# -- all of them in a file ---------------------------------------------------------------------------------------------

_EXAMPLE_HEAD = f"""\
# All options of pvehooks, with the built-in values. pvehooks.conf(5) describes them. (Generated by `make docs`.)
#
# Copy what you change, with its section, into {NODE_FILE} for this node, or into
# {CLUSTER_FILE} for all nodes of the cluster; the node's file takes precedence.
# "pvehooks config" shows what is in effect, and where it was set.
# A change is noticed within [watch] interval; at once after: systemctl reload pvehooks
"""
_EXAMPLE_TAIL = """\

# Settings for one device are below its address, or its ids (and a serial number).
#[device 0000:01:00.0]
#after_stop = return
#[device 144d:a808 serial S4EWNX0R123456]
#return_to = nvme

# Settings for one VM are below its VMID.
#[guest 100]
#ignore = rng-missing: boots from its local disk only
#[[rng]]
#mode = warn
"""


def example() -> str:
    """A file that changes nothing: every option with its description and its default, commented out below its section."""
    import textwrap

    def prose(text: str) -> str:
        return textwrap.fill(text, 90, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False) + "\n"

    parts = [_EXAMPLE_HEAD]
    fixed = [option for option in OPTIONS if option.default is not None]
    for section in dict.fromkeys(option.section for option in fixed):
        parts.append(f"\n[{section}]\n")
        for option in (option for option in fixed if option.section == section):
            default = written(option.default) if option.default is not None else ""
            limits = f"Allowed: {option.allowed}." + (" Also per VM." if option.per_guest else "")
            blank = "" if parts[-1].startswith("\n[") else "\n"
            parts.append(f"{blank}{prose(option.doc)}{prose(limits)}#{option.name} = {default}\n")
    severity = next(option for option in OPTIONS if option.section == "rules")
    parts.append(f"\n[rules]\n{prose(severity.doc)}{prose(f'Allowed: {severity.allowed}.')}#rng-missing = warning\n")
    return "".join(parts) + _EXAMPLE_TAIL
