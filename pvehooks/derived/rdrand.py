"""Which CPU models give a guest the RDRAND instruction, as QEMU defines them (target/i386/cpu.c)."""

from __future__ import annotations

from pvehooks.derived.disks import arch_of
from pvehooks.values import Guest, Node, Unread

# QEMU's named models of these families have rdrand, with all their versions ("-v2", "-noTSX", "-IBRS"), those of the others below do not.
# QEMU 10.0 reports so of all its 154 models (query-cpu-model-expansion). Of any other model, from a newer QEMU, nothing is known.
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
_FAMILIES_WITHOUT_RDRAND = (
    *("486", "athlon", "Conroe", "core2duo", "coreduo", "kvm32", "kvm64", "n270", "Nehalem", "Opteron", "Penryn", "pentium", "phenom"),
    *("qemu32", "qemu64", "SandyBridge", "Westmere", "x86-64-v2", "x86-64-v3", "x86-64-v4", "a64fx", "cortex", "neoverse"),
)
# PVE's default when the config names no model (qemu-server, CPUConfig.pm).
DEFAULT_MODEL = "kvm64"
_Successor = tuple[str, tuple[str, ...]]
# The oldest model with RDRAND that keeps what PVE's own models have, and the flags of the node with which QEMU can give it (PVE adds
# `enforce`: without one of them the guest would not start).
_AMD: _Successor = ("EPYC", ("svm", "rdrand", "avx2", "sha_ni", "clflushopt", "fsgsbase", "rdseed", "adx", "smap", "xsavec"))
_INTEL: _Successor = ("IvyBridge", ("vmx", "rdrand", "avx", "f16c", "fsgsbase", "smep", "erms", "x2apic", "xsaveopt", "tsc_deadline_timer"))
_INTEL_V3: _Successor = ("Haswell-noTSX", (*_INTEL[1], "avx2", "bmi1", "bmi2", "fma", "movbe", "invpcid", "pcid"))
_SUCCESSORS: dict[str, tuple[_Successor, ...]] = {
    **dict.fromkeys(("", "kvm64", "qemu64", "x86-64-v2", "x86-64-v2-AES"), (_AMD, _INTEL)),
    "x86-64-v3": (_AMD, _INTEL_V3),
}


def has_rdrand(guest: Guest, node: Node) -> bool | Unread:
    """Whether the firmware of the guest finds RDRAND, by its `cpu` option and, for `host`, the node's own CPU."""
    if arch_of(guest, node) != "x86_64":
        return False
    return _gives(guest.cpu[0], guest.cpu[1], node)


def _gives(model: str, flags: tuple[str, ...], node: Node) -> bool | Unread:
    """Whether a `cputype` with these flags gives RDRAND."""
    model = model or DEFAULT_MODEL
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
    if model.startswith(_FAMILIES_WITH_RDRAND):
        return True
    if model.startswith(_FAMILIES_WITHOUT_RDRAND):
        return False
    return Unread(f"the CPU model '{model}' is newer than this version of pvehooks")


def model_with_rdrand(guest: Guest, node: Node) -> str:
    """The value of a `cpu` option that gives the guest RDRAND on this node and keeps the option's other parts, '' where none can.

    A custom model of the cluster comes first, then a named one, with which a guest can still be moved between CPUs of one vendor.
    """
    if isinstance(node.cpu_flags, Unread) or "rdrand" not in node.cpu_flags:
        return ""
    custom = {} if isinstance(node.cpu_models, Unread) else node.cpu_models
    own = next((f"custom-{name}" for name in sorted(custom) if _gives(f"custom-{name}", (), node) is True), "")
    named = (model for model, needed in _SUCCESSORS.get(guest.cpu[0], ()) if node.cpu_flags.issuperset(needed))
    return with_model(guest, own or next(named, "host"))


def with_model(guest: Guest, model: str) -> str:
    """The guest's `cpu` option with another model."""
    rest = [part for part in str(guest.options.get("cpu", "")).split(",") if "=" in part and not part.startswith("cputype=")]
    return ",".join((model, *rest))
