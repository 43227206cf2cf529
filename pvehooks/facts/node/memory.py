"""The node's memory: what a guest could have now, and its huge pages."""

from __future__ import annotations

from collections.abc import Iterator

from pvehooks.facts.reading import names_in, unread
from pvehooks.host import Host
from pvehooks.values import HugePages, Memory, Unread

_MEMINFO = "/proc/meminfo"
_ARC = "/proc/spl/kstat/zfs/arcstats"
_NODES = "/sys/devices/system/node"
_GLOBAL = "/sys/kernel/mm/hugepages"
# What ZFS's shrinker offers to the kernel (OpenZFS, module/os/linux/zfs/arc_os.c, arc_evictable_memory).
_EVICTABLE = ("mru_evictable_data", "mru_evictable_metadata", "mfu_evictable_data", "mfu_evictable_metadata")

# Of the kernel's largest numbers.
_DIGITS = 20


def read(host: Host) -> Memory | Unread:
    """The memory as it is now: MemAvailable, and of the ARC, which that leaves out, what ZFS would give back."""
    try:
        meminfo = _meminfo(host, _MEMINFO)
        available = meminfo["MemAvailable"]
    except OSError as error:
        return unread(_MEMINFO, error)
    except KeyError:
        return Unread(f"{_MEMINFO} has no MemAvailable")
    return Memory(available + _reclaimable_arc(host), tuple(_huge_pages(host, meminfo.get("MemFree", 0))))


def _meminfo(host: Host, path: str) -> dict[str, int]:
    """Bytes by name, of /proc/meminfo or a NUMA node's meminfo, whose lines begin with "Node N"; raises OSError."""
    found = {}
    for line in host.read_text(path).split("\n"):
        label, _, value = line.partition(":")
        words = value.split()
        if words[1:] == ["kB"] and _is_number(words[0]) and label.strip():
            found[label.split()[-1]] = int(words[0]) << 10
    return found


def _is_number(word: str) -> bool:
    return word.isdecimal() and len(word) <= _DIGITS


def _reclaimable_arc(host: Host) -> int:
    """Bytes of the ARC above its minimum that can be evicted; 0 without ZFS."""
    try:
        rows = (line.split() for line in host.read_text(_ARC).split("\n"))
        values = {row[0]: int(row[2]) for row in rows if len(row) == 3 and _is_number(row[2])}
    except OSError:
        return 0
    if "size" not in values or "c_min" not in values:
        return 0
    above = max(0, values["size"] - values["c_min"])
    return min(above, sum(values[name] for name in _EVICTABLE)) if values.keys() >= set(_EVICTABLE) else above


def _huge_pages(host: Host, free: int) -> Iterator[HugePages]:
    """By node and size, where PVE allocates them (qemu-server, Memory.pm, hugepages_allocate)."""
    names = (name for name in names_in(host, _NODES) if name.startswith("node") and name[4:].isdecimal())
    nodes = sorted(int(name[4:]) for name in names)
    for node in nodes:
        yield from _sizes(host, f"{_NODES}/node{node}/hugepages", node, _node_free(host, node))
    if not nodes:
        yield from _sizes(host, _GLOBAL, 0, free)


def _sizes(host: Host, path: str, node: int, free: int) -> Iterator[HugePages]:
    """The sizes in a directory of names like hugepages-2048kB; one whose files are gone is left out."""
    sizes = sorted(int(name[10:-2]) for name in names_in(host, path) if name[:10] == "hugepages-" and name[10:-2].isdecimal())
    for size in filter(None, sizes):
        try:
            pages = int(host.read_text(f"{path}/hugepages-{size}kB/free_hugepages"))
        except (OSError, ValueError):
            continue
        yield HugePages(node, size, pages, free // (size << 10))


def _node_free(host: Host, node: int) -> int:
    try:
        return _meminfo(host, f"{_NODES}/node{node}/meminfo").get("MemFree", 0)
    except OSError:
        return 0
