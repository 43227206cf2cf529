"""Giving a guest a firmware image through qm: running guests, qm's refusals, PVE's own option, and writers that are killed at each step."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pvehooks.facts import hardware
from pvehooks.facts.guests import configs as guests
from pvehooks.facts.guests.running import is_running
from pvehooks.host import Host
from pvehooks.rules.engine import findings_at_start
from pvehooks.values import Guest
from tests.beds import commandline
from tests.beds.forked import forked
from tests.beds.journald import Journald
from tests.beds.namespace import mount
from tests.beds.process import running_guest
from tests.beds.qm import Qm
from tests.daemon.bed import wait_until
from tests.hookscript import bed

Golden = Callable[[str, str], None]
NODE = Path("/etc/pve/nodes/pve1/qemu-server")
IMAGES = Path("/var/lib/vz/efi-firmware")
CODE, OTHER_CODE = Path("/usr/share/OVMF/OVMF_CODE_4M.fd"), Path("/usr/share/OVMF/OVMF_CODE_4M.secboot.fd")
VOLID, OTHER = "local:efi-firmware/app.fd", "local:efi-firmware/other.fd"
OWN = "-name 'a \"b'"
BASE = f"""\
args: {OWN}
bios: ovmf
efidisk0: local:100/vm-100-disk-0.qcow2,efitype=4m,size=528K
machine: q35
name: app
smbios1: uuid=5bbfe0c8-2a22-4ba0-9f9d-6f2a58f1b3a1
"""
OURS = (
    "-blockdev driver=raw,node-name=pvehooks-firmware,read-only=on,file.driver=file,file.filename=/var/lib/vz/efi-firmware/app.fd"
    " -machine pflash0=pvehooks-firmware"
)
STATUS = "Package: pve-qemu-kvm\nStatus: install ok installed\nVersion: 10.1.2-4\n\n"


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """This machine is a node with two images, Proxmox' QEMU and a guest."""
    status = Path("/var/lib/dpkg/status")
    before = status.read_bytes()
    with bed.mounts():
        status.write_text(STATUS)
        IMAGES.mkdir()
        shutil.copy(CODE, IMAGES / "app.fd")
        shutil.copy(OTHER_CODE, IMAGES / "other.fd")
        Path("/run/pvehooks").mkdir(exist_ok=True)
        bed.config(BASE)
        yield tmp_path
        shutil.rmtree(IMAGES)
    status.write_bytes(before)


@pytest.fixture
def qm(node: Path, monkeypatch: pytest.MonkeyPatch) -> Qm:
    return use(Qm(node / "qm"), monkeypatch)


def use(qm: Qm, monkeypatch: pytest.MonkeyPatch) -> Qm:
    monkeypatch.setenv("PATH", qm.path)
    monkeypatch.setenv("PERL5LIB", qm.perl5lib)
    return qm


def pvehooks(*arguments: str, status: int = 0) -> str:
    """What `pvehooks firmware` prints on both streams."""
    ended = commandline.pvehooks("firmware", *arguments)
    assert ended.status == status, ended.output
    return ended.output


def text() -> str:
    return (NODE / "100.conf").read_text()


def guest() -> Guest:
    host = Host()
    return guests.read(host, "pve1", 100, guests.gather_context(host, "pve1", None))


def without_hookscript(config: str) -> str:
    return "".join(line for line in config.splitlines(keepends=True) if not line.startswith("hookscript:"))


def test_given_and_taken_in_one_change_each(qm: Qm) -> None:
    pvehooks("set", "100", VOLID)
    assert f"args: {OWN} {OURS}\n" in text()
    (change,) = qm.calls("set")
    assert (change.option("hookscript"), len(change.option("digest") or "")) == ("local:snippets/pvehooks-guard", 40)
    pvehooks("unset", "100")
    assert text() == BASE
    assert guest().firmware is None


def test_the_journal_has_what_was_done(qm: Qm) -> None:
    """What a person had done to a guest or an image, who it was, and the backup; what changed nothing is no entry."""
    qm.misbehave("lie", verb="set", vmid=100, times=1)
    with Journald() as journald:
        pvehooks("set", "100", VOLID, status=1)
        pvehooks("set", "100", VOLID)
        pvehooks("set", "100", VOLID)
        pvehooks("unset", "100")
        pvehooks("import", str(CODE), "--storage", "local", "--name", "new.fd")
        pvehooks("import", str(CODE), "--storage", "local", "--name", "new.fd")
        pvehooks("remove", "local:efi-firmware/new.fd")
        entries = journald.entries("SYSLOG_IDENTIFIER=pvehooks")
    kinds = ["firmware-not-changed", "firmware-set", "firmware-unset", "firmware-unset", "firmware-imported", "firmware-removed"]
    assert [entry["PVEHOOKS_EVENT"] for entry in entries] == kinds
    failed, given, taken, guard, new, gone = entries
    assert {(entry["PVEHOOKS_NODE"], entry["PVEHOOKS_BY"]) for entry in entries} == {("pve1", "user 0")}
    assert all(entry["MESSAGE"].endswith("(asked for by user 0)") for entry in entries)
    assert [entry.get("PVEHOOKS_VMID") for entry in entries] == ["100"] * 4 + [None] * 2
    assert [entry["PRIORITY"] for entry in entries] == ["3", *"55555"]
    assert failed["MESSAGE"].startswith(
        "VM 100 (app): firmware set failed: args and hookscript were changed, but the config does not show it. "
    )
    assert given["MESSAGE"].startswith(f"VM 100 (app): given the firmware image {VOLID} (sha256 ") and given["PVEHOOKS_DEVICE"] == VOLID
    assert "Undo: pvehooks firmware unset 100 (asked" in given["MESSAGE"]
    assert Path(given["PVEHOOKS_BACKUP"]).read_text() == BASE
    assert taken["MESSAGE"].startswith(f"VM 100 (app): firmware image {VOLID} removed, it starts with the node's own firmware again")
    assert guard["MESSAGE"].startswith("VM 100 (app): the guard was removed as well")
    assert new["MESSAGE"].startswith(f"firmware image local:efi-firmware/new.fd imported from {CODE} (sha256 ")
    assert gone["MESSAGE"].startswith("firmware image local:efi-firmware/new.fd deleted (/var/lib/vz/efi-firmware/new.fd)")


# -- running guests ---------------------------------------------------------------------------------------------------


@pytest.fixture
def running(node: Path) -> Iterator[None]:
    """The guest runs, for all that can be seen of it."""
    with running_guest(100):
        wait_until(lambda: is_running(Host(), 100), "its command line is there")
        yield


@pytest.mark.usefixtures("running")
@pytest.mark.parametrize("writer", ["qm", "file"])
def test_a_running_guest_gets_it_at_its_next_start(writer: str, qm: Qm) -> None:
    Path("/etc/pvehooks/pvehooks.conf").write_text(f"[rng]\nwriter = {writer}\n")
    assert "it takes effect at its next start" in pvehooks("set", "100", VOLID)
    live, _, pending = text().partition("[PENDING]\n")
    assert (f"args: {OWN}\n" in live, pending) == (True, f"args: {OWN} {OURS}\n")
    pvehooks("set", "100", OTHER)
    assert text().partition("[PENDING]\n")[2] == f"args: {OWN} {OURS.replace('app.fd', 'other.fd')}\n"
    assert "It takes effect" not in pvehooks("set", "100", OTHER), "nothing was written"
    pinned = guest().firmware
    assert pinned is not None
    assert pinned.volid == OTHER
    pvehooks("unset", "100")
    assert guest().options["args"] == OWN
    assert guest().firmware is None


@pytest.mark.usefixtures("running")
def test_what_was_set_while_it_ran_is_taken_back_before_it_starts(qm: Qm) -> None:
    pvehooks("set", "100", VOLID)
    Path("/run/qemu-server/100.pid").write_text("0\n")
    pvehooks("unset", "100")
    assert without_hookscript(text()) == BASE


# -- refusals ---------------------------------------------------------------------------------------------------------


def test_characters_that_qm_would_write_as_others(qm: Qm) -> None:
    before = BASE.replace('a "b', "\u00e9")
    bed.config(before)
    assert "the value has characters beyond ASCII, which qm would replace by others" in pvehooks("set", "100", VOLID, status=1)
    assert text() == before
    assert (guest().firmware, qm.calls("set")) == (None, [])


@pytest.mark.parametrize(
    ("order", "words"),
    [
        (
            {"do": "answer", "stderr": f"unable to open file '{NODE}/100.conf.tmp.7' - Permission denied\n", "status": 2},
            "100.conf.tmp.7' - Permission denied. No quorum? See: pvecm status. Then try it again.",
        ),
        ({"do": "answer", "stderr": "only root can set 'args' config\n", "status": 255}, "only root can set 'args' config"),
        ({"do": "answer", "stderr": "VM is locked (backup)\n", "status": 255}, "VM is locked (backup). Try it again."),
        ({"do": "answer", "stderr": "checksum mismatch (file change by other user?)\n", "status": 255}, "checksum mismatch"),
    ],
    ids=["no quorum", "root only", "lock", "digest"],
)
def test_qm_refuses(order: dict[str, Any], words: str, qm: Qm) -> None:
    qm.misbehave(order.pop("do"), verb="set", **order)
    assert words in pvehooks("set", "100", VOLID, status=1)
    assert (text(), guest().firmware) == (BASE, None)
    pvehooks("set", "100", VOLID)
    given = text()
    qm.misbehave("answer", verb="set", stderr="VM is locked (backup)\n", status=255)
    assert "the image was not removed: VM is locked (backup). Try it again." in pvehooks("unset", "100", status=1)
    pinned = guest().firmware
    assert pinned is not None
    assert (text(), pinned.state) == (given, "done")


def test_an_answer_that_is_lost(qm: Qm) -> None:
    qm.misbehave("mute", verb="set")
    pvehooks("set", "100", VOLID)
    pinned = guest().firmware
    assert pinned is not None
    assert pinned.state == "done"


def test_a_storage_whose_file_system_is_not_mounted(qm: Qm) -> None:
    place = Path("/mnt/a b")
    place.mkdir()
    Path("/etc/pve/storage.cfg").write_text(f"dir: usb\n\tpath {place}/\n\tcontent images\n\tis_mountpoint yes\n")
    output = pvehooks("import", str(CODE), "--storage", "usb", "--name", "app.fd", status=3)
    assert f"nothing is mounted at {place}" in output
    assert not list(place.iterdir())
    mount("tmpfs", str(place), "tmpfs")
    pvehooks("import", str(CODE), "--storage", "usb", "--name", "app.fd")
    assert "from now on" in pvehooks("set", "100", "usb:efi-firmware/app.fd")
    subprocess.run(["umount", str(place)], check=True)
    (refusal,) = findings_at_start(guest(), hardware.gather(Host(), "pve1"))
    assert (refusal.rule, "does not exist" in refusal.message) == ("firmware-missing", True)


# -- killed at each step ----------------------------------------------------------------------------------------------


def killed_before(step: int, *arguments: str) -> bool:
    """Runs the verb in a process that is killed before its step of that number (a write, a removal, a command); returns whether it was."""
    done = 0

    def deadly(name: str) -> Callable[..., Any]:
        real = getattr(Host, name)

        def step_done(*words: Any, **more: Any) -> Any:
            nonlocal done
            if done == step:
                os.kill(os.getpid(), signal.SIGKILL)
            done += 1
            return real(*words, **more)

        return step_done

    def work() -> None:
        for name in ("replace", "remove", "run"):
            setattr(Host, name, deadly(name))
        pvehooks(*arguments)

    return forked(work) < 0


@pytest.mark.usefixtures("node")
def test_a_killed_process_keeps_no_guest_from_starting() -> None:
    """Between each two steps of setting, replacing and removing; the next try completes what was begun."""
    Path("/etc/pvehooks/pvehooks.conf").write_text("[rng]\nwriter = file\n")
    record = Path("/etc/pve/pvehooks/guests/100.json")
    for verb in (("set", "100", VOLID), ("set", "100", OTHER), ("unset", "100")):
        before, recorded = text(), record.read_bytes() if record.exists() else b""
        killed, step = True, 0
        while killed:
            bed.config(before)
            record.write_bytes(recorded) if recorded else record.unlink(missing_ok=True)
            killed = killed_before(step, *verb)
            assert findings_at_start(guest(), hardware.gather(Host(), "pve1")) == (), f"{verb}, {step} steps"
            with contextlib.suppress(AssertionError):  # it may have been done
                pvehooks(*verb)
            is_given(verb[2] if len(verb) == 3 else "")
            step += 1
        assert step > 4, "there were steps to be killed between"


def is_given(volid: str) -> None:
    """The guest has the image, or none at all, and the record knows it."""
    pinned = guest().firmware
    if not volid:
        # The guard may be left: nothing keeps it from being taken out later, and it lets the guest start.
        assert (pinned, sorted(without_hookscript(text()))) == (None, sorted(BASE))
        return
    assert pinned is not None
    name = volid.rpartition("/")[2]
    assert (pinned.volid, pinned.state, guest().options["args"]) == (volid, "done", f"{OWN} {OURS.replace('app.fd', name)}")


# -- Proxmox VE's own option ------------------------------------------------------------------------------------------


@pytest.fixture
def newer(node: Path, monkeypatch: pytest.MonkeyPatch) -> Qm:
    """A later Proxmox VE."""
    return use(Qm(node / "qm", newer_options=("efi-firmware",)), monkeypatch)


def test_handed_over_as_json(newer: Qm) -> None:
    pvehooks("set", "100", VOLID)
    assert json.loads(pvehooks("migrate", "100", "--json"))["migrated"] == [100]


def test_handed_over_to_an_option_of_its_own(newer: Qm) -> None:
    output = pvehooks("set", "100", VOLID)
    assert "This Proxmox VE has its own option for this (efi-firmware). To use it: pvehooks firmware migrate 100" in output
    newer.misbehave("answer", verb="set", stderr="400 Parameter verification failed.\nefi-firmware: no such volume\n", status=2)
    before = text()
    output = pvehooks("migrate", "100", status=1)
    assert "efi-firmware: no such volume" in output and "as before" in output
    pinned = guest().firmware
    assert pinned is not None
    assert (text(), pinned.state) == (before, "done")
    assert "is in PVE's own option efi-firmware now" in pvehooks("migrate", "100")
    assert text() == BASE.replace("efidisk0:", f"efi-firmware: {VOLID}\nefidisk0:")
    assert (guest().firmware, guest().attachment) == (None, None)
    assert "has no image from pvehooks" in pvehooks("migrate", "100", status=1)


def test_no_option_of_its_own_yet(qm: Qm) -> None:
    assert "option of its own" not in pvehooks("set", "100", VOLID)
    assert "has no option of its own" in pvehooks("migrate", "100", status=1)
