"""What becomes of a start that could not be examined ([guard] on_error), and whether it is the one that was accepted last.

Imports almost nothing: it runs when the normal path has failed. For the same reason it reads config, record and devices on its own.
"""

from __future__ import annotations

import json
import re

from pvehooks.guard.log import log_line
from pvehooks.values.base import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from typing import Any

    from pvehooks.host import Host

_LOCK_SECONDS = 1.0
_BY_SETTINGS = "as the settings have it ([guard] on_error, mode)"
_IS_KNOWN = "its devices and their IOMMU groups are those of its last accepted start"
_LINE = re.compile(r"(hostpci[0-9]+):\s*(\S.*?)\s*")
# What PVE takes for the beginning of a section, and nothing else: a line "[x y]" ends nothing (qemu-server, parse_vm_config).
_SECTION = re.compile(r"^\[[A-Za-z][A-Za-z0-9_:-]*\]\s*$", re.MULTILINE | re.ASCII)
_UUID = re.compile(r"^smbios1:.*\buuid=([0-9a-fA-F-]+)", re.MULTILINE)
_CTIME = re.compile(r"^meta:.*\bctime=([0-9]{1,11})\b", re.MULTILINE)
_NODES = "/etc/pve/nodes"
_MAPPING = re.compile(r"(?:^|,)mapping=([^,]+)")
_MAPPINGS = "/etc/pve/mapping/pci.cfg"
_DEVICES = "/sys/bus/pci/devices"


def decide(host: Host, vmid: int, source_node: str, on_error: str, cause: str) -> int:
    """Returns the exit status for the start; logs it, and writes it to the journal with its cause.

    `on_error` is known, allow or block; an override for this start lifts a refusal. `source_node` is PVE_MIGRATED_FROM.
    """
    why = "[guard] on_error = block" if on_error == "block" else ""
    allowed = _BY_SETTINGS if on_error == "allow" else _IS_KNOWN
    if on_error != "allow":
        try:
            evidence = read_evidence(host, vmid, source_node)
            why = difference_from_accepted(host, evidence) if on_error == "known" else why
            if why and evidence.override:
                trouble = _use_up_override(host, vmid, *identity(evidence.config)) if evidence.is_ordinary else ""
                why, allowed = (
                    (f"{why}; the override for this one start cannot be used up: {trouble}" if trouble else ""),
                    evidence.override,
                )
        except OSError as error:
            why = why or f"{error.filename or 'its config'} cannot be read: {error.strerror}"
    if why:
        log_line(f"VM {vmid} is not started: it could not be examined, and {why}.")
        log_line(f"  To start it once nevertheless: pvehooks allow {vmid} --once --reason WHY. For good: [guard] on_error = allow")
    else:
        log_line(f"VM {vmid} starts unexamined: {allowed}.")
    words = f"VM {vmid} is not started: {why}" if why else f"VM {vmid} starts unexamined: {allowed}"
    _write_to_journal(host, vmid, f"{words}. The start could not be examined: {cause}", "block" if why else "allow")
    _count(host, bool(why))
    return 1 if why else 0


def _use_up_override(host: Host, vmid: int, uuid: str | None, ctime: int | None) -> str:
    """Removes the override for one start from the record, before the start goes on; returns why that cannot be done, '' if it is."""
    try:
        from pvehooks.records import guests as records

        records.update(host, vmid, records.Identity(uuid, ctime), lambda record: record._replace(allowance=None), _LOCK_SECONDS)
    except Exception as error:  # noqa: BLE001 - something has failed before, that is why this code runs
        return str(error)
    return ""


def _count(host: Host, refused: bool) -> None:
    try:
        from pvehooks.guard import counters

        counters.count(host, counters.UNEXAMINED_REFUSED if refused else counters.UNEXAMINED)
    except Exception:  # noqa: BLE001 - the decision stands without being counted
        return


def _write_to_journal(host: Host, vmid: int, message: str, verdict: str) -> None:
    try:
        from pvehooks.guard import journal

        journal.event(host, "start-unexamined", message, "", vmid, verdict=verdict)
    except Exception:  # noqa: BLE001 - the decision stands without an entry
        return


# -- the last accepted start ------------------------------------------------------------------------------------------


class Evidence(NamedTuple):
    """What a start is compared by: the live part of the config, its record ({} if none), the node that starts the guest.

    `is_ordinary`: whether the start is neither for a backup nor the target of a migration.
    """

    config: str
    record: Mapping[str, Any]
    node: str
    is_ordinary: bool

    @property
    def override(self) -> str:
        """Who allowed the next start, and why; '' if no one did."""
        allowance = self.record.get("allowance")
        return f"{allowance.get('by')} allowed it: {allowance.get('reason')}" if isinstance(allowance, dict) else ""


def read_evidence(host: Host, vmid: int, source_node: str) -> Evidence:
    """`source_node` is the node that a live migration comes from, or ''. Raises OSError for a config that cannot be read."""
    nodes = host.names(_NODES)
    try:
        node = host.link_name("/etc/pve/local")
    except OSError:
        node = nodes[0] if nodes else ""
    owners = [name for name in (source_node, node, *nodes) if name in nodes]
    paths = [f"{_NODES}/{name}/qemu-server/{vmid}.conf" for name in owners or [node]]
    path = next(filter(host.exists, paths), paths[0])
    # At this time PVE has applied what was pending: the live part, before the first section, is what starts.
    config = _SECTION.split(host.read(path).decode("utf-8", "surrogateescape"), maxsplit=1)[0]
    is_ordinary = not source_node and not re.search(r"^lock:\s*backup\s*$", config, re.MULTILINE)
    return Evidence(config, _record(host, vmid, config), node, is_ordinary)


def _record(host: Host, vmid: int, config: str) -> Mapping[str, Any]:
    """The record of this guest, not of another one that had its VMID (records.Identity)."""
    try:
        record: dict[str, Any] = json.loads(host.read(f"/etc/pve/pvehooks/guests/{vmid}.json"))
        pairs = [(record["uuid"], identity(config)[0]), (record["ctime"], identity(config)[1])]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}
    known = [(str(ours).lower(), str(theirs).lower()) for ours, theirs in pairs if None not in (ours, theirs)]
    same = all(ours == theirs for ours, theirs in known) if known else all(ours is theirs is None for ours, theirs in pairs)
    return record if same else {}


def identity(config: str) -> tuple[str | None, int | None]:
    """The guest's uuid and the time of its creation; None for what the config does not have."""
    uuid, ctime = _UUID.search(config), _CTIME.search(config)
    return (uuid[1] if uuid else None, int(ctime[1]) if ctime else None)


def difference_from_accepted(host: Host, evidence: Evidence) -> str:
    """What differs from the last accepted start, for a message; '' for nothing. Raises OSError for mappings that cannot be read.

    Compares the hostpci lines, the devices, and the members of the groups that are taken with them.
    """
    try:
        hostpci = {match[1]: match[2] for match in map(_LINE.fullmatch, evidence.config.split("\n")) if match}
        if not hostpci:
            # A guest with a firmware image takes nothing from the host.
            return ""
        accepted = evidence.record.get("accepted", {}).get(evidence.node)
        if not accepted:
            return "no start of it was accepted before"
        if hostpci != accepted["hostpci"]:
            return "its hostpci lines are not those of its last accepted start"
        return (
            _changed_mapping(host, hostpci, accepted, evidence.node)
            or _changed_device(host, accepted)
            or _changed_group(host, accepted)
            or in_use(host, {*accepted["devices"], *accepted["members"]})
        )
    except (KeyError, TypeError, AttributeError):
        return "what is noted of its last accepted start cannot be understood"


def _changed_mapping(host: Host, hostpci: Mapping[str, str], accepted: Mapping[str, Any], node: str) -> str:
    """A mapping may name another device under the same hostpci line."""
    names = [match[1] for line in hostpci.values() if (match := _MAPPING.search(line))]
    if not names:
        return ""
    from pvehooks.formats.sectionconfig import parse_mapping

    sections = {section.name: section for section in parse_mapping(host.read(_MAPPINGS)).sections}
    for name in names:
        entries = sections[name].maps if name in sections else ()
        for address in (path for entry in entries if entry.get("node") == node for path in entry.get("path", "").split(";")):
            whole = address if "." in address else f"{address}."
            if not any(known.startswith(whole) for known in accepted["devices"]):
                return f"the mapping '{name}' names {address}, which was not among its devices at its last accepted start"
    return ""


def _changed_device(host: Host, accepted: Mapping[str, Any]) -> str:
    for address, device in sorted(accepted["devices"].items()):
        try:
            now = ":".join(host.read_text(f"{_DEVICES}/{address}/{part}").removeprefix("0x") for part in ("vendor", "device"))
        except OSError:
            return f"{address} is not on the bus"
        if device.get("id", now) != now:
            return f"{address} is another device than at its last accepted start"
    return ""


def _changed_group(host: Host, accepted: Mapping[str, Any]) -> str:
    """A new member of a group that is taken whole; a bridge does not count, PVE never takes one."""
    members = set(accepted["members"])
    for address in sorted(members):
        try:
            there = host.names(f"{_DEVICES}/{address}/iommu_group/devices")
        except OSError:
            return f"{address} has no IOMMU group"
        new = [name for name in there if name not in members and not host.is_dir(f"{_DEVICES}/{name}/pci_bus")]
        if new:
            return f"{new[0]} shares an IOMMU group with {address} now"
    return ""


# -- what the members are used for now --------------------------------------------------------------------------------


def in_use(host: Host, addresses: Collection[str]) -> str:
    """What the node uses one of these PCI devices for, for a message; '' for nothing. Raises OSError.

    Looks at mounts, swap, and network cards that are part of something: few files, which other users cannot fill.
    """
    numbers, swaps = _mounted_devices(host), _swap_devices(host)
    for name, address in _devices_below(host, "/sys/class/block", addresses):
        for each in _with_holders(host, name):
            if _text(host, f"/sys/class/block/{each}/dev") in numbers or each in numbers:
                return f"{address} holds a mounted file system ({each})"
            if each in swaps:
                return f"{address} holds swap ({each})"
    for name, address in _devices_below(host, "/sys/class/net", addresses):
        above = [entry.removeprefix("upper_") for entry in host.names(f"/sys/class/net/{name}") if entry.startswith("upper_")]
        try:
            above.append(host.link_name(f"/sys/class/net/{name}/master"))
        except FileNotFoundError:
            pass
        if above:
            return f"{address} is the network card {name}, which is part of {above[0]}"
    return ""


def _text(host: Host, path: str) -> str:
    try:
        return host.read_text(path)
    except OSError:
        return ""


def _devices_below(host: Host, folder: str, addresses: Collection[str]) -> list[tuple[str, str]]:
    """(name, PCI address) of the block devices or network interfaces that lie below one of the devices in sysfs."""
    try:
        links = host.link_texts(folder)
    except FileNotFoundError:
        return []
    return sorted((name, part) for name, target in links.items() for part in target.split("/") if part in addresses)


def _with_holders(host: Host, name: str) -> list[str]:
    """A block device and all that stands on it: holders of holders (the kernel's ABI/stable/sysfs-block)."""
    found = [name]
    for each in found:
        try:
            found += [above for above in host.names(f"/sys/class/block/{each}/holders") if above not in found]
        except FileNotFoundError:
            continue
    return found


def _mounted_devices(host: Host) -> set[str]:
    """The numbers ("8:1") of the devices that are mounted, and the names of those of a mounted btrfs, which has no number of a device."""
    found: set[str] = set()
    for table in ("/proc/1/mountinfo", "/proc/self/mountinfo"):
        try:
            lines = host.read(table, limit=1 << 24).decode("utf-8", "replace").split("\n")
        except FileNotFoundError:
            continue
        found.update(fields[2] for line in lines if len(fields := line.split(" ", 3)) > 2)
        break
    try:
        systems = host.names("/sys/fs/btrfs")
    except FileNotFoundError:
        systems = []
    for system in systems:
        if host.is_dir(f"/sys/fs/btrfs/{system}/devices"):
            found.update(host.names(f"/sys/fs/btrfs/{system}/devices"))
    return found


def _swap_devices(host: Host) -> set[str]:
    """The kernel's names of the block devices that the node swaps to."""
    try:
        lines = host.read("/proc/swaps").decode("utf-8", "replace").split("\n")[1:]
    except FileNotFoundError:
        return set()
    return {host.real(line.split(" ")[0].partition("\t")[0]).rpartition("/")[2] for line in lines if line.startswith("/dev/")}
