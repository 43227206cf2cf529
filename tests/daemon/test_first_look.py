"""The first look at a node as a person reads it: a line for each rule, not one for each guest and rule; nothing is lost by that."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pvehooks import __version__
from pvehooks.daemon.loop import Daemon
from pvehooks.errors import PmxcfsAway
from pvehooks.host import Host
from pvehooks.journal.output import Lines
from pvehooks.rules import catalogue
from pvehooks.settings.load import checked
from tests.beds.journald import LOGS
from tests.beds.namespace import empty
from tests.beds.tree import make_fake_tree
from tests.daemon.bed import RNG0, NodeBed, uefi

Make = Callable[..., NodeBed]
Golden = Callable[[str, str], None]


def guests() -> dict[str, str]:
    """Twenty guests: old boot orders, UEFI without an EFI disk, a display that PVE refuses, lines that are none, guests without entropy."""
    disk = "scsi0: local:{0}/vm-{0}-disk-0.qcow2,size=8G\n"
    legacy = {vmid: f"bootdisk: scsi0\nmemory: 512\nname: legacy{vmid}\n{disk.format(vmid)}" for vmid in range(100, 106)}
    forgetful = {vmid: f"bios: ovmf\nboot: order=scsi0\nmemory: 512\n{RNG0}{disk.format(vmid)}" for vmid in (107, 108, 109, 111, 115, 117)}
    refused = {vmid: f"boot: order=scsi0\nmemory: 512\nvga: none,clipboard=vnc\n{disk.format(vmid)}" for vmid in (120, 121, 122)}
    torn = {vmid: f"boot: order=scsi0\nmemory: 512\nonbot: 1\n{disk.format(vmid)}" for vmid in (130, 131)}
    old = {vmid: uefi(f"old{vmid}", old=True) for vmid in (140, 141)}
    old |= {142: uefi("pxe", old=True).replace("order=scsi0;net0", "order=net0;scsi0")}
    return {f"{vmid}.conf": text for vmid, text in {**legacy, **forgetful, **refused, **torn, **old}.items()}


@pytest.fixture(autouse=True)
def snippets() -> None:
    """None is there from an earlier test."""
    empty("/var/lib/vz/snippets")


def journalctl(*arguments: str) -> str:
    """The daemon's entries on guests, without what differs from run to run and from machine to machine."""
    (directory,) = LOGS.iterdir()
    subprocess.run(["journalctl", "--sync"], check=True, timeout=120)
    command = ["journalctl", f"--directory={directory}", "--no-pager", "--no-hostname", "--all", "-t", "pvehooksd", *arguments]
    done = subprocess.run(
        command, env={**os.environ, "LC_ALL": "C.UTF-8", "TZ": "UTC"}, capture_output=True, text=True, timeout=120, check=True
    )
    text = re.sub(
        r"^[A-Z][a-z]{2} \d\d \d\d:\d\d:\d\d pvehooksd\[\d+\]", "Nov 02 03:04:05 pvehooksd[4711]", done.stdout, flags=re.MULTILINE
    )
    text = re.sub(r"^.*\]: node pve1: .*\n", "", text, flags=re.MULTILINE).replace(f"pvehooks {__version__} ", "pvehooks VERSION ")
    text = re.sub(r"^[A-Z][a-z]{2} \d{4}-.*\[s=.*\]$", "Mon 2026-11-02 03:04:05.000000 UTC", text, flags=re.MULTILINE)
    return re.sub(r"(^    .*\n)+", _sorted_fields, text, flags=re.MULTILINE)


def _sorted_fields(fields: re.Match[str]) -> str:
    """The fields of an entry in `-o verbose`, the daemon's own, in an order that is the same for every journald."""
    own = re.findall(r"^    [A-Z]\w*=.*\n(?:     .*\n)*", fields[0], re.MULTILINE)
    return "".join(re.sub(r"^     +", " " * 8, each, flags=re.MULTILINE) for each in sorted(own) if not each.startswith("    SYSLOG_TIME"))


def test_as_a_person_reads_it(node: Make, golden: Golden) -> None:
    bed = node(guests())
    bed.start()
    golden("journal/first-look-short.txt", journalctl("--output=short"))
    golden("journal/first-look-verbose.txt", journalctl("--output=verbose", "PVEHOOKS_EVENT=findings", "PVEHOOKS_EVENT=existing"))
    golden("journal/first-look-one-guest.txt", journalctl("--output=short", "PVEHOOKS_VMID=107"))


def findings(bed: NodeBed) -> list[str]:
    """The findings of guests that the journal has, alone or with others: "VMID RULE"."""
    bed.settle()
    entries = [entry for event in ("findings", "advice", "finding") for entry in bed.journal.entries(f"PVEHOOKS_EVENT={event}")]
    together = [line for entry in entries for line in entry.get("PVEHOOKS_FINDINGS", "").splitlines()]
    alone = [
        f"{entry['PVEHOOKS_VMID']} {entry['PVEHOOKS_RULE']}"
        for entry in entries
        if "PVEHOOKS_VMID" in entry and "PVEHOOKS_FINDINGS" not in entry
    ]
    logged = [*alone, *(re.sub(r"^VM (\d+).*\[(.*)\]$", r"\1 \2", line) for line in together)]
    return sorted(each for each in logged if not each.startswith("999"))


def test_every_finding_counts_as_reported(node: Make) -> None:
    """None is said again, neither by the next daemon nor at the next look; the next one is said by itself."""
    bed = node(guests())
    bed.start()
    stored = json.loads(Path("/run/pvehooks/said.json").read_text())
    whole = sorted(f"{vmid} {rule}" for vmid, rows in stored.items() for rule, *_ in rows if vmid != "0")
    assert findings(bed) == whole and len(whole) > 15
    bed.stop()
    bed.start()
    bed.write(103, guests()["103.conf"] + "onbot: 1\n")
    (entry,) = bed.logged("finding", 103)
    assert entry["MESSAGE"].startswith("VM 103 (legacy103): PVE will lose a line at the next change")
    assert findings(bed) == sorted([*whole, "103 config-lines-dropped"])


def test_many_gone_at_once_are_one_line(node: Make) -> None:
    bed = node(guests())
    bed.start()
    # What changes within one look is one line; the daemon looks when all is written.
    bed.signal(signal.SIGSTOP)
    for name, text in guests().items():
        if "clipboard" in text or "bootdisk" in text:
            bed.write(
                int(name.removesuffix(".conf")),
                text.replace("vga: none,clipboard=vnc\n", "").replace("bootdisk: scsi0", "boot: order=scsi0"),
            )
    bed.signal(signal.SIGCONT)
    messages = [entry["MESSAGE"] for entry in bed.logged("findings-gone")]
    assert messages == ["9 VMs (100-105, 120-122): no longer: boot-order-legacy (6 VMs), clipboard-without-display (3 VMs)"]
    assert not bed.journal.entries("PVEHOOKS_EVENT=mended")


def test_a_look_that_breaks_off_reports_what_it_found(tmp_path: Path) -> None:
    """pmxcfs goes away in its midst: what was seen by then counts as said, so it is said."""
    host = Host(str(make_fake_tree(tmp_path, {f"etc/pve/nodes/pve1/qemu-server/{name}": text for name, text in guests().items()})))
    logged = io.StringIO()
    review = Daemon(host, "pve1", checked(host, catalogue.RULES), Lines(logged)).review
    left = iter(range(4))

    def keep_alive() -> bool:
        if next(left, None) is None:
            raise PmxcfsAway("pmxcfs went away")
        return True

    with pytest.raises(PmxcfsAway):
        review.review([107, 108, 109, 111, 115], keep_alive=keep_alive)
    assert "VM 107, VM 108, VM 109, VM 111: UEFI without an EFI disk" in logged.getvalue()
    review.review([107, 108, 109, 111, 115])
    assert logged.getvalue().splitlines()[-1].partition(" VM ")[2].startswith("115: UEFI without an EFI disk")
