"""The node's CPU: its flags, its number, the cluster's custom models; and the random number generator of the hardware."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pvehooks.facts.reading import optional_of, text_of, unread
from pvehooks.host import Host
from pvehooks.values import CpuModel, HwRng, Unread

CPU_MODELS = "/etc/pve/virtual-guest/cpu-models.conf"
ARM = "ARM"
_CPUINFO = "/proc/cpuinfo"
_ONLINE = "/sys/devices/system/cpu/online"


def first(host: Host) -> Mapping[str, str]:
    """What /proc/cpuinfo says of the first CPU, by name ("vendor_id", "flags"); raises OSError."""
    text = host.read(_CPUINFO, limit=1 << 13).decode("ascii", "replace")
    pairs = (line.partition(":") for line in text.partition("\n\n")[0].split("\n"))
    return {name.strip(): value.strip() for name, _, value in pairs}


def vendor(host: Host) -> str:
    """The maker as x86 CPUs name it ("GenuineIntel"), "ARM" for any of that architecture, else ''; raises OSError."""
    known = first(host)
    return known.get("vendor_id") or (ARM if "CPU implementer" in known else "")


def count(host: Host) -> int | Unread:
    """Those that are online; PVE counts the same ones in /proc/cpuinfo (pve-common, ProcFSTools.pm, read_cpuinfo), which is slow to read."""
    try:
        listed = host.read_text(_ONLINE)
    except OSError as error:
        return unread(_ONLINE, error)
    ranges = [re.fullmatch(r"(\d{1,6})(?:-(\d{1,6}))?", part, re.ASCII) for part in listed.split(",")]
    count = sum(int(match[2] or match[1]) - int(match[1]) + 1 for match in ranges if match)
    return count if all(ranges) and count > 0 else Unread(f"{_ONLINE} lists no CPUs")


def cpu_flags(host: Host) -> frozenset[str] | Unread:
    """The flags of the node's CPU, or an ARM CPU's features (/proc/cpuinfo)."""
    try:
        text = host.read(_CPUINFO, limit=1 << 16).decode("ascii", "replace")
    except OSError as error:
        return unread(_CPUINFO, error)
    match = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    return frozenset(match[1].split()) if match else Unread("/proc/cpuinfo names no CPU flags")


def address_bits(host: Host) -> int | Unread:
    """The physical bits of its "address sizes"; an ARM CPU shows none."""
    try:
        words = first(host).get("address sizes", "").split()
    except OSError as error:
        return unread(_CPUINFO, error)
    return int(words[0]) if words[1:3] == ["bits", "physical,"] and words[0].isdecimal() else Unread(f"{_CPUINFO} shows no address sizes")


def cpu_models(host: Host) -> Mapping[str, CpuModel] | Unread:
    """Custom CPU models; the file is optional (the administrator's manual, "Custom CPU Types")."""
    raw = optional_of(host, CPU_MODELS)
    if isinstance(raw, Unread):
        return raw
    from pvehooks.formats import sectionconfig

    models = {}
    for section in sectionconfig.parse_cpu_models(raw).sections:
        flags = tuple(flag for flag in re.split(r"[;,\s]+", section.options.get("flags", "")) if flag)
        models[section.name] = CpuModel(section.options.get("reported-model", ""), flags)
    return models


def hwrng(host: Host) -> HwRng:
    """The hardware random number generator; PVE looks at the same two (qemu-server, RNG.pm, check_rng_source)."""
    current = text_of(host, "/sys/devices/virtual/misc/hw_random/rng_current")
    return HwRng(host.exists("/dev/hwrng"), current)
