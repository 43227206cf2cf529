"""Writes PCI mappings: through pvesh with their digest on a node, directly into the file in a tree."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from pvehooks.actions import backups, qm
from pvehooks.derived import remedies
from pvehooks.errors import ActionFailed
from pvehooks.facts.cluster import mappings
from pvehooks.host import CommandTrouble, Host
from pvehooks.values import NamedTuple, PciMapping, Unread
from pvehooks.values.base import sha1

_FILE = mappings.PCI_MAPPINGS
# pvesh starts in a second, and waits ten for pmxcfs' lock.
_TIMEOUT = 60.0


class WrittenMapping(NamedTuple):
    """A mapping that was written: the copy of the file before, '' for none, and the command that takes it back."""

    backup: str
    undo: str


def write(host: Host, node: str, name: str, entries: Sequence[str], known: PciMapping | None, mdev: bool = False) -> WrittenMapping:
    """Gives a mapping these entries for all nodes, and no others; a new one is made, with `mdev` for mediated devices. Raises ActionFailed.

    `known` is the mapping as it was when this was decided, None for a new one. The file is kept before, and read back after.
    """
    raw = _raw(host)
    present = mappings.read(host, node)
    if isinstance(present, Unread):
        raise ActionFailed(present.why)
    former = present.get(name)
    if former != known:
        raise ActionFailed(f"the mapping '{name}' was changed meanwhile", "Try it again.")
    backup = backups.save_file(host, "pci.cfg", raw) if raw else ""
    if host.is_node:
        _pvesh(host, name, entries, "" if former is None else sha1(raw).hex(), mdev)
    else:
        _edit(host, raw, name, entries, mdev)
    after = mappings.read(host, node)
    there = None if isinstance(after, Unread) else after.get(name)
    if there is None or _parts(there.written) != _parts(entries):
        raise ActionFailed(f"{_FILE} does not hold what was written for '{name}'", f"Compare with the backup: {backup}" if backup else "")
    undo = f"pvesh delete /cluster/mapping/pci/{name}" if former is None else remedies.setting_mapping(name, former.written)
    return WrittenMapping(backup, undo)


def _raw(host: Host) -> bytes:
    try:
        return host.read(_FILE)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise ActionFailed(f"{_FILE}: {error.strerror}", "See: systemctl status pve-cluster") from error


def _parts(entries: Collection[str]) -> list[list[str]]:
    return sorted(sorted(each.split(",")) for each in entries)


def _pvesh(host: Host, name: str, entries: Sequence[str], digest: str, mdev: bool) -> None:
    """A mapping that is there has a digest: the SHA-1 of the file, by which PVE knows that it was changed."""
    words = ["pvesh", "set", f"/cluster/mapping/pci/{name}"] if digest else ["pvesh", "create", "/cluster/mapping/pci", "--id", name]
    for each in entries:
        words += ["--map", each]
    words += ["--digest", digest] if digest else ["--mdev", "1"] if mdev else []
    try:
        ended = host.run(words, timeout=_TIMEOUT)
    except CommandTrouble as trouble:
        raise ActionFailed(str(trouble)) from trouble
    if ended.status != 0:
        raise ActionFailed(f"Proxmox VE did not write the mapping '{name}': {qm.first_words(ended.stderr) or ended.status}")


def _edit(host: Host, raw: bytes, name: str, entries: Sequence[str], mdev: bool) -> None:
    """As PVE writes it: a header, and its options below it, each after a tab."""
    lines = raw.decode("utf-8", "surrogateescape").split("\n")
    maps = [f"\tmap {each}" for each in entries]
    try:
        at = lines.index(name) + 1
    except ValueError:
        before = "".join(f"{line}\n" for line in lines).rstrip("\n")
        text = "\n".join(filter(None, (before and f"{before}\n", name, *maps, "\tmdev 1" if mdev else ""))) + "\n"
    else:
        end = next((number for number, line in enumerate(lines[at:], at) if not line), len(lines))
        others = [line for line in lines[at:end] if line.split()[:1] != ["map"]]
        text = "\n".join((*lines[:at], *others, *maps, *lines[end:]))
    try:
        host.make_dir("/etc/pve/mapping")
        host.replace(_FILE, text.encode("utf-8", "surrogateescape"))
    except OSError as error:
        raise ActionFailed(f"{_FILE}: {error.strerror}") from error
