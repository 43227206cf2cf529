"""The kinds of change to a guest's config, a guest in a tree for them, and a writer that does what a test says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pvehooks.actions import backups, firmware, guardhook, rng0, transaction
from pvehooks.actions.result import Outcome, Result
from pvehooks.actions.transaction import Change
from pvehooks.actions.writer import FileWriter
from pvehooks.facts.guests import configs as guests
from pvehooks.facts.storage import images
from pvehooks.host import Host
from pvehooks.records import guests as records
from pvehooks.settings import load as settings
from pvehooks.values import Guest
from tests.beds.tree import make_fake_tree
from tests.daemon.bed import RNG0

CONFIG = "etc/pve/nodes/pve1/qemu-server/100.conf"
RECORD = "etc/pve/pvehooks/guests/100.json"
VALUE = RNG0.removeprefix("rng0: ").strip()
STUB = "local:snippets/pvehooks-guard"
OURS = (
    "-blockdev driver=raw,node-name=pvehooks-firmware,read-only=on,file.driver=file,file.filename=/var/lib/vz/efi-firmware/app.fd"
    " -machine pflash0=pvehooks-firmware"
)


class Kind(NamedTuple):
    """A kind of change: the option and the value that it gives, what somebody else's value looks like, its part of the record."""

    name: str
    option: str
    value: str
    other: str
    part: str
    of: Callable[[Host, Guest], Change | Result]


RNG = Kind("rng0", "rng0", VALUE, "source=/dev/random", "rng0", lambda host, guest: rng0.change(host, guest, settings.load(host).rng(100)))
GUARD = Kind("guard", "hookscript", STUB, "local:snippets/other.pl", "attachment", guardhook.change)
FIRMWARE = Kind(
    "firmware",
    "args",
    OURS,
    "-name x",
    "firmware",
    lambda host, guest: firmware.change(host, guest, images.look(host, "local:efi-firmware/app.fd")),
)
KINDS = (RNG, GUARD, FIRMWARE)


def start(host: Host) -> None:
    """The guest runs, for all that a tree can show of it."""
    make_fake_tree(host.root, {"run/qemu-server/100.pid": "42\n", "proc/42/cmdline": "kvm\0-id\x00100\0"})


def guest_of(host: Host, vmid: int = 100) -> Guest:
    return guests.read(host, "pve1", vmid, guests.gather_context(host, "pve1", None))


def change_of(kind: Kind, host: Host) -> Change:
    change = kind.of(host, guest_of(host))
    assert isinstance(change, Change)
    return change


def apply(host: Host, kind: Kind, writer: Any = None) -> Result:
    return transaction.apply(host, guest_of(host), writer or FileWriter(host), kind.of(host, guest_of(host)))


def write(host: Host, text: str) -> None:
    Path(host.root, CONFIG).write_text(text)


def text(host: Host) -> str:
    return Path(host.root, CONFIG).read_text()


def part(host: Host, kind: Kind) -> Any:
    """The kind's part of the guest's record."""
    guest = guest_of(host)
    record = records.read(host, 100, records.Identity(guest.uuid, guest.ctime))
    return getattr(record, kind.part, None)


def untouched(host: Host, kind: Kind, before: str) -> bool:
    return (text(host), part(host, kind), backups.of_guest(host, 100)) == (before, None, [])


class Scripted(NamedTuple):
    """A writer that does what a test says, and answers so."""

    outcome: Outcome = Outcome.DONE
    act: Callable[[Guest, Mapping[str, str | None]], object] = lambda guest, options: None
    check: Outcome = Outcome.DONE

    def precheck(self, guest: Guest) -> Result:
        return Result(self.check, "said before")

    def write(self, guest: Guest, options: Mapping[str, str | None]) -> Result:
        self.act(guest, options)
        return Result(self.outcome, "said by the writer")
