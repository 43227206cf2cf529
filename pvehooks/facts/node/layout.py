"""The node's CPUs and memory as they are laid out: NUMA nodes, isolated CPUs, memory, the ARC's limit, huge pages reserved; and what KSM merges of it."""

from __future__ import annotations

from collections.abc import Iterator

from pvehooks.facts.reading import names_in, text_of, unread
from pvehooks.host import Host
from pvehooks.values.base import Unread
from pvehooks.values.boot import Ksm, Layout

_NODES = "/sys/devices/system/node"
_ISOLATED = "/sys/devices/system/cpu/isolated"
_PAGES = "/sys/kernel/mm/hugepages"
_ARC = "/proc/spl/kstat/zfs/arcstats"
_KSM = "/sys/kernel/mm/ksm"
_USERS = "/etc/pve/user.cfg"
# The kernel's largest NR_CPUS.
_MOST = 8192


def read(host: Host) -> Layout | Unread:
    """The layout as the kernel shows it."""
    try:
        meminfo = host.read_text("/proc/meminfo")
    except OSError as error:
        return unread("/proc/meminfo", error)
    total = next((line.split()[1] for line in meminfo.split("\n") if line.startswith("MemTotal:") and len(line.split()) > 1), "")
    if not _is_number(total):
        return Unread("/proc/meminfo has no MemTotal")
    nodes = {int(name[4:]): cpus(text_of(host, f"{_NODES}/{name}/cpulist")) for name in names_in(host, _NODES) if _is_node(name)}
    return Layout(nodes, cpus(text_of(host, _ISOLATED)), int(total) << 10, _arc_limit(host), dict(_reserved(host)))


def cpus(text: str) -> frozenset[int]:
    """A list of CPUs such as "0-3,8" (the kernel's admin-guide/cputopology); what is none of it is left out."""
    found: set[int] = set()
    for part in text.strip().split(","):
        first, dash, last = part.strip().partition("-")
        last = last.partition(":")[0] if dash else first
        if _is_number(first) and _is_number(last):
            found.update(range(min(int(first), _MOST), min(int(last), _MOST) + 1))
    return frozenset(found)


def _is_node(name: str) -> bool:
    return name.startswith("node") and _is_number(name[4:])


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 18


def _arc_limit(host: Host) -> int:
    """c_max: what the ARC may grow to now."""
    for line in text_of(host, _ARC).split("\n"):
        row = line.split()
        if len(row) == 3 and row[0] == "c_max" and _is_number(row[2]):
            return int(row[2])
    return 0


def _reserved(host: Host) -> Iterator[tuple[int, int]]:
    for name in names_in(host, _PAGES):
        size = name.removeprefix("hugepages-").removesuffix("kB")
        count = text_of(host, f"{_PAGES}/{name}/nr_hugepages")
        if _is_number(size) and _is_number(count):
            yield int(size), int(count)


# -- kernel samepage merging, and who the guests belong to, as far as pools tell (pve-access-control, AccessControl.pm) ---


def ksm(host: Host) -> Ksm | Unread:
    """Its state now; a kernel without it never merges."""
    try:
        runs = host.read_text(f"{_KSM}/run") == "1"
        shared = host.read_text(f"{_KSM}/pages_sharing")
    except FileNotFoundError:
        return Ksm(False, 0, {}) if host.is_dir("/sys/kernel/mm") else Unread("/sys/kernel/mm is not there")
    except OSError as error:
        return unread(error.filename, error)
    try:
        return Ksm(runs, int(shared) if shared.isdecimal() and len(shared) < 20 else 0, _pools(host))
    except OSError as error:
        return unread(_USERS, error)


def _pools(host: Host) -> dict[int, str]:
    """The pool of each guest, by lines "pool:NAME:COMMENT:VMIDS:STORAGES:"."""
    try:
        text = host.read(_USERS).decode("utf-8", "replace")
    except FileNotFoundError:
        return {}
    pools = {}
    for line in text.split("\n"):
        fields = line.split(":")
        if fields[0] == "pool" and len(fields) > 3:
            pools.update({int(vmid): fields[1] for vmid in fields[3].replace(" ", "").split(",") if vmid.isdecimal() and len(vmid) < 10})
    return pools
