"""What else on the node names devices that have moved: notes for boot, driverctl, names of network cards. Nothing of it is changed. Not a verb."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pvehooks.actions.pci import remember
from pvehooks.derived import following, whereabouts
from pvehooks.facts.node.networkconfig import NetworkConfig
from pvehooks.facts.pci import bindings, identity
from pvehooks.facts.pci.bindings import BootBinding
from pvehooks.facts.pci.fingerprints import Fingerprints
from pvehooks.facts.reading import names_in
from pvehooks.host import Host
from pvehooks.values import NamedTuple, Node, PciDevice, Unread
from pvehooks.values.fingerprints import Fingerprint


class Related(NamedTuple):
    """A setting that names a device by where it was."""

    # Which file.
    place: str
    words: str
    # What to type.
    command: str


def find(host: Host, node: Node, prints: Fingerprints) -> Iterator[Related]:
    """All of it."""
    devices = {} if isinstance(node.pci, Unread) else node.pci
    moved: dict[str, str] = {}
    for address, note in bindings.all_noted(host).items():
        if isinstance(note, BootBinding):
            now = _now(host, address, note, devices, prints)
            if now:
                moved[address] = now
                yield _binding(address, note, now)
    for address, driver in bindings.driverctl(host).items():
        if address in moved:
            where = f"{bindings.DRIVERCTL}/pci-{address}"
            words = f"gives whatever is at {address} to {driver} at boot; the device is at {moved[address]} now"
            command = f"driverctl unset-override {address}; driverctl set-override {moved[address]} {driver}"
            yield Related(where, words, command)
    yield from _cards(host, prints)


def _now(host: Host, address: str, note: BootBinding, devices: Mapping[str, PciDevice], prints: Fingerprints) -> str:
    """Where the device of a note is now, '' where that is not known, or it is where the note says."""
    there = devices.get(address)
    if there is not None and not identity.differences(note.identity, identity.of(host, there)):
        return ""
    meant = note.identity
    known = Fingerprint(meant.vendor, meant.device, meant.subsystem, int(address[-1], 16), serial=meant.serial)
    found = whereabouts.locate(known, prints.alike(known)).address
    return "" if found == address else found


def _binding(address: str, note: BootBinding, now: str) -> Related:
    what = "" if note.vfs is None else f" --vfs {note.vfs}"
    words = f"its device is at {now} now, so nothing is done with it at boot"
    command = f"pvehooks unbind {address} --persist; pvehooks bind {now}{what} --persist"
    return Related(bindings.path(address), words, command)


def _cards(host: Host, prints: Fingerprints) -> Iterator[Related]:
    """Names in the network's configuration whose card has another name now: all of a file at once, since one may be another's former name."""
    files = NetworkConfig(host)
    lower = {word.split(".")[0]: file for _, _, word, file in files.lower()}
    renamed: dict[str, dict[str, str]] = {}
    words: dict[str, list[str]] = {}
    for move in following.moves(remember.of_network(host, prints).now.devices, prints):
        names = names_in(host, f"/sys/bus/pci/devices/{move.where.address}/net") if move.where.address else []
        file = lower.get(move.part) or files.file_of(move.part)
        if len(names) == 1 and names[0] != move.part and file:
            renamed.setdefault(file, {})[move.part] = names[0]
            words.setdefault(file, []).append(f"{move.part}, which is {names[0]} now, at {move.where.address} ({move.where.why})")
    for file, names_now in renamed.items():
        yield Related(file, f"names the card {'; and '.join(words[file])}", f"sed -i {_edits(names_now)} {file} && ifreload -a")


def _edits(names: Mapping[str, str]) -> str:
    """The arguments of sed(1) that give all the new names; by names that no card has where a new name is another's old one."""
    if names.keys().isdisjoint(names.values()):
        return " ".join(f"-e 's/\\b{old}\\b/{new}/g'" for old, new in names.items())
    first = [f"-e 's/\\b{old}\\b/NEW-{number}-/g'" for number, old in enumerate(names)]
    return " ".join((*first, *(f"-e 's/NEW-{number}-/{new}/g'" for number, new in enumerate(names.values()))))
