"""Arguments of the kernel, and how to change them with this node's boot loader."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from pvehooks.values import Node, Unread
from pvehooks.values.boot import CommandLines, Loader, Planned

# The boot loader's own arguments: they differ from what is written in its file.
_OWN = frozenset({"BOOT_IMAGE", "initrd", "root", "ro", "rw", "boot", "rootflags", "single", "systemd.machine_id"})
# Harmless when they are in a file that is not read.
QUIET = frozenset({"quiet", "splash", "rhgb"})
# What guides for passthrough have people add, by the name's beginning.
_PASSTHROUGH = (
    "intel_iommu",
    "amd_iommu",
    "iommu",
    "pcie_acs_override",
    "vfio",
    "kvm",
    "isolcpus",
    "hugepages",
    "default_hugepagesz",
    "video",
)
# Where nothing shows which boot loader it is, both are described.
_EITHER = (
    "with GRUB in GRUB_CMDLINE_LINUX_DEFAULT in /etc/default/grub, then: update-grub && reboot; with systemd-boot in /etc/kernel/cmdline, then:"
    " proxmox-boot-tool refresh && reboot"
)


def name_of(word: str) -> str:
    """The argument's name; the kernel takes - and _ for the same (kernel/params.c, parameq)."""
    return word.partition("=")[0].replace("-", "_")


def values_of(words: Iterable[str], name: str) -> list[str]:
    """The values of all arguments of this name, split at commas, in their order."""
    return [value for word in words if name_of(word) == name for value in word.partition("=")[2].split(",")]


def wanted(words: Iterable[str], without: Collection[str] = ()) -> list[str]:
    """The arguments that people write, each once: not the boot loader's own, nor variables of GRUB's menu."""
    return [
        word for word in dict.fromkeys(words) if name_of(word) not in _OWN and name_of(word) not in without and not word.startswith("$")
    ]


def differences(should: Iterable[str], is_now: Iterable[str]) -> tuple[list[str], list[str]]:
    """What is missing, and what is there although it should not be."""
    planned, found = wanted(should), wanted(is_now)
    known, there = {_same(word) for word in planned}, {_same(word) for word in found}
    return [word for word in planned if _same(word) not in there], [word for word in found if _same(word) not in known]


def _same(word: str) -> str:
    name, equals, value = word.partition("=")
    return f"{name.replace('-', '_')}{equals}{value}"


def important(words: Iterable[str]) -> bool:
    """Whether passthrough depends on one of them."""
    return any(name_of(word).startswith(_PASSTHROUGH) for word in words)


def shown(words: Iterable[str]) -> str:
    """Arguments for a message."""
    return " ".join(f'"{word}"' if any(char.isspace() for char in word) else word for word in words)


def described(missing: list[str], extra: list[str]) -> str:
    """Differences in words: what is to come, what is to go."""
    parts = [f"without {shown(missing)}" if missing else "", f"still with {shown(extra)}" if extra else ""]
    return " and ".join(filter(None, parts))


def loader_of(node: Node) -> Loader | None:
    """The boot loader, where it is known."""
    return None if isinstance(node.loader, Unread) or not node.loader.kind else node.loader


def plans(lines: CommandLines, loader: Loader) -> tuple[Planned | None, Planned | None]:
    """What the boot loader's own file would give, and what the other one's."""
    return (lines.grub, lines.kernel) if loader.kind == "grub" else (lines.kernel, lines.grub)


def place(loader: Loader) -> str:
    """Where arguments are written, for a sentence."""
    return f"GRUB_CMDLINE_LINUX_DEFAULT in {loader.file}" if loader.kind == "grub" else f"the one line of {loader.file}"


def apply(loader: Loader, change: str) -> str:
    """A change and what to type after it: "Add iommu=pt to ..., then: update-grub && reboot"."""
    return f"{change}, then: {loader.refresh} && reboot"


def add(argument: str, node: Node) -> str:
    """How to add an argument on this node."""
    loader = loader_of(node)
    if loader is None:
        return f"Add {argument} to the kernel command line: {_EITHER}"
    return apply(loader, f"Add {argument} to {place(loader)}")


def remove(argument: str, node: Node) -> str:
    """How to take an argument out on this node."""
    loader = loader_of(node)
    if loader is None:
        return f"Remove {argument} from the kernel command line: {_EITHER}"
    return apply(loader, f"Remove {argument} from {place(loader)}")
