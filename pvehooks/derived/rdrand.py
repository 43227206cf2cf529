"""Which CPU models give a guest the RDRAND instruction, as QEMU defines them (target/i386/cpu.c)."""

from __future__ import annotations

from pvehooks.values import Guest, Node, Unread

# QEMU's named models of these families have rdrand, with all their versions ("-v2", "-noTSX", "-IBRS"); no other named model has.
# So said QEMU 10.0 of all its 154 models (query-cpu-model-expansion).
_FAMILIES_WITH_RDRAND = (
    "IvyBridge",
    "Haswell",
    "Broadwell",
    "Skylake",
    "Cascadelake",
    "Cooperlake",
    "Icelake",
    "Snowridge",
    "Denverton",
    "KnightsMill",
    "SapphireRapids",
    "GraniteRapids",
    "DiamondRapids",
    "SierraForest",
    "ClearwaterForest",
    "EPYC",
    "Dhyana",
    "YongFeng",
)
# PVE's default when the config names no model (qemu-server, CPUConfig.pm).
DEFAULT_MODEL = "kvm64"


def has_rdrand(guest: Guest, node: Node) -> bool | Unread:
    """Whether the firmware of the guest will find RDRAND, by its `cpu` option and, for `host`, the node's own CPU."""
    if guest.options.get("arch", "x86_64") != "x86_64":
        return False
    model, flags = guest.cpu[0] or DEFAULT_MODEL, guest.cpu[1]
    if model.startswith("custom-"):
        if isinstance(node.cpu_models, Unread):
            return node.cpu_models
        custom = node.cpu_models.get(model.removeprefix("custom-"))
        if custom is None:
            return Unread(f"the custom CPU model '{model}' is not in /etc/pve/virtual-guest/cpu-models.conf")
        model, flags = custom.reported_model or DEFAULT_MODEL, (*custom.flags, *flags)
    for flag in reversed(flags):
        if flag in ("+rdrand", "-rdrand"):
            return flag == "+rdrand"
    if model in ("host", "max"):
        if isinstance(node.cpu_flags, Unread):
            return node.cpu_flags
        return "rdrand" in node.cpu_flags
    return model.startswith(_FAMILIES_WITH_RDRAND)
