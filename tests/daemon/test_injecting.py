"""What the daemon does with a guest that lacks its rng0: when it acts, when it waits, when it leaves it alone."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.beds.namespace import detach, mount
from tests.beds.process import running_guest
from tests.daemon.bed import QM, RNG0, NodeBed, uefi, wait_until

Make = Callable[..., NodeBed]


def test_old_guests_are_only_warned_about(node: Make) -> None:
    bed = node({"100.conf": uefi("old", old=True), "101.conf": uefi("older", old=True), "102.conf": "memory: 512\n"})
    bed.start()
    (entry,) = bed.logged("existing")
    assert "2 UEFI VMs from before pvehooks" in entry["MESSAGE"]
    assert "VM 100 (old), VM 101 (older)" in entry["MESSAGE"]
    assert "pvehooks inject --all" in entry["MESSAGE"]
    bed.settle()
    assert bed.sets() == 0
    assert not bed.journal.entries("PVEHOOKS_RULE=rng-missing-netboot")


def test_a_backup_is_no_edit(node: Make) -> None:
    """vzdump writes a lock into the config and takes it out again; no person edited the guest."""
    bed = node({"100.conf": uefi("old", old=True)})
    bed.start()
    bed.write(100, uefi("old", "lock: backup\n", old=True))
    bed.settle()
    bed.write(100, uefi("old", old=True))
    bed.settle()
    assert bed.sets() == 0


def test_an_edited_old_guest_gets_its_rng0(node: Make) -> None:
    bed = node({"100.conf": uefi("old", old=True)})
    bed.start()
    bed.write(100, uefi("old", "cores: 4\n", old=True))
    assert RNG0 in bed.wait_for_rng0(100)


def test_an_edit_while_the_daemon_was_down(node: Make) -> None:
    bed = node({"100.conf": uefi("old", old=True)})
    bed.start()
    bed.stop()
    bed.write(100, uefi("old", "cores: 4\n", old=True))
    bed.start()
    bed.wait_for_rng0(100)


def test_existing_inject(node: Make) -> None:
    bed = node({"100.conf": uefi("old", old=True)}, settings="[rng]\nexisting = inject\n")
    bed.start()
    bed.wait_for_rng0(100)


def test_old_guest_with_network_first_is_left_alone(node: Make) -> None:
    bed = node({"100.conf": uefi("pxe", old=True)})
    bed.start()
    bed.write(100, uefi("pxe", old=True).replace("order=scsi0;net0", "order=net0;scsi0"))
    (entry,) = bed.journal.wait_for("PVEHOOKS_RULE=rng-held-netboot-first")
    assert "net0 comes before every disk" in entry["MESSAGE"]
    assert bed.sets() == 0


def test_what_an_admin_removes_is_not_put_back(node: Make) -> None:
    bed = node()
    bed.start()
    bed.write(100, uefi())
    given = bed.wait_for_rng0(100)
    bed.write(100, given.replace(RNG0, ""))
    bed.journal.wait_for("PVEHOOKS_RULE=rng-removed-by-admin")
    bed.write(100, given.replace(RNG0, "") + "cores: 3\n")
    bed.settle()
    assert bed.sets() == 1


def test_what_an_admin_gave_and_removes_is_not_put_back(node: Make) -> None:
    """Also where the daemon is started again meanwhile, and where the guest was there before the package."""
    own = "rng0: source=/dev/urandom,max_bytes=512\n"
    bed = node({"101.conf": uefi("old", own, old=True)})
    bed.start()
    bed.write(100, uefi(more=own))
    wait_until(lambda: all(Path(f"/etc/pve/pvehooks/guests/{vmid}.json").exists() for vmid in (100, 101)), "the rng0 is noted")
    bed.stop()
    bed.start()
    for vmid, without in ((100, uefi()), (101, uefi("old", "cores: 4\n", old=True))):
        bed.write(vmid, without)
        bed.journal.wait_for("PVEHOOKS_RULE=rng-removed-by-admin", f"PVEHOOKS_VMID={vmid}")
        bed.settle()
    assert bed.sets() == 0


@pytest.mark.parametrize(
    ("config", "rule"),
    [
        (uefi("w", "onbot: 1\n"), "rng-held-lines-dropped"),
        (uefi("w", "\n[PENDING]\nmemory: 4096\n"), "rng-held-pending"),
        (uefi("w", "template: 1\n"), "rng-held-template"),
    ],
)
def test_not_touched(node: Make, config: str, rule: str) -> None:
    bed = node()
    bed.start()
    bed.write(100, config)
    bed.journal.wait_for(f"PVEHOOKS_RULE={rule}")
    assert bed.sets() == 0
    assert bed.read(100) == config


def test_ignored(node: Make) -> None:
    bed = node(settings="[guest 100]\nignore = rng-missing-netboot: never boots from the network\n")
    bed.start()
    bed.write(100, uefi())
    bed.settle()
    assert bed.sets() == 0
    assert not bed.messages("PVEHOOKS_VMID=100")


def test_warn_mode(node: Make) -> None:
    bed = node(settings="[rng]\nmode = warn\n")
    bed.start()
    bed.write(100, uefi())
    (entry,) = bed.journal.wait_for("PVEHOOKS_RULE=rng-missing-netboot")
    assert entry["PRIORITY"] == "4"
    bed.write(100, uefi(more=RNG0))
    bed.logged("mended", 100)
    assert bed.sets() == 0


def test_running_guest(node: Make) -> None:
    """The rng0 goes to [PENDING]; the journal says when it takes effect."""
    bed = node()
    with running_guest(100):
        bed.start()
        bed.write(100, uefi())
        (entry,) = bed.logged("injected", 100)
    assert "takes effect at its next start" in entry["MESSAGE"]
    assert "[PENDING]\nrng0: source=/dev/urandom" in bed.read(100)


def test_locked_guest_waits(node: Make) -> None:
    bed = node()
    bed.start()
    bed.write(100, uefi(more="lock: clone\n"))
    (entry,) = bed.logged("waiting", 100)
    assert "VM is locked (clone)" in entry["MESSAGE"]
    bed.write(100, uefi())
    bed.wait_for_rng0(100)
    assert len(bed.logged("waiting", 100)) == 1


def test_changed_meanwhile(node: Make) -> None:
    """The digest refuses the first try; the new config is read and judged."""
    bed = node()
    changed = bed.directory / "changed"
    bed.qm.misbehave("wait", verb="config", vmid=100, until=str(changed))
    bed.start()
    bed.write(100, uefi())
    wait_until(lambda: bed.qm.calls("config", 100), "qm config")
    bed.write(100, uefi(more="cores: 7\n"))
    changed.touch()
    text = bed.wait_for_rng0(100)
    assert "cores: 7\n" in text


@pytest.mark.parametrize("trouble", ["garbage", "killed", "answer", "missing"])
def test_qm_in_trouble(node: Make, trouble: str) -> None:
    """An error entry, and the guest is tried again."""
    bed = node(settings=QM)
    if trouble == "missing":
        bed.qm.executable.rename(bed.qm.executable.with_name("away"))
    else:
        details = {"stdout": "", "stderr": "something unheard of\n"} if trouble == "answer" else {}
        bed.qm.misbehave(trouble, verb="set", vmid=100, status=1, **details)
    bed.start(path=f"{bed.qm.bin}:/usr/bin:/bin")
    bed.write(100, uefi())
    (entry,) = bed.logged("not-injected", 100)
    assert entry["PRIORITY"] == "3"
    assert "tried again" in entry["MESSAGE"]
    if trouble == "missing":
        assert "qm cannot be run" in entry["MESSAGE"]
        bed.qm.executable.with_name("away").rename(bed.qm.executable)
    bed.wait_for_rng0(100)


@pytest.mark.parametrize("trouble", ["mute", "killed-after"])
def test_lost_answer(node: Make, trouble: str) -> None:
    """qm made the change but was killed before it could report it: what counts is the config."""
    bed = node()
    bed.qm.misbehave(trouble, verb="set", vmid=100)
    bed.start()
    bed.write(100, uefi())
    bed.wait_for_rng0(100)
    assert bed.sets() == 1


def test_pve_would_lose_a_line(node: Make) -> None:
    """PVE's own reading has the last word, whatever our parser thinks."""
    bed = node()
    complaint = "vm 100 - unable to parse value of 'foo' - unknown setting 'foo'\n"
    bed.qm.misbehave("answer", verb="config", vmid=100, times=None, stdout=uefi(), stderr=complaint, status=0)
    bed.start()
    bed.write(100, uefi())
    (entry,) = bed.logged("not-injected", 100)
    assert "PVE would drop lines" in entry["MESSAGE"]
    assert "unknown setting 'foo'" in entry["MESSAGE"]
    assert bed.sets() == 0


def test_no_backup_no_injection(node: Make) -> None:
    bed = node()
    mount("tmpfs", "/var/lib/pvehooks", "tmpfs", options="size=64k")
    try:
        bed.start()
        with suppress(OSError), Path("/var/lib/pvehooks/full").open("wb", buffering=0) as full:
            while True:
                full.write(bytes(4096))
        bed.write(100, uefi())
        bed.write(101, uefi("second"))
        (entry,) = bed.logged("changes-wait")
        assert "could not be backed up" in entry["MESSAGE"]
        assert "No space left" in entry["MESSAGE"]
        bed.write(102, uefi("third"))
        bed.settle()
        assert bed.sets() == 0 and len(bed.logged("changes-wait")) == 1
        Path("/var/lib/pvehooks/full").unlink()
        for vmid in (100, 101, 102):
            bed.wait_for_rng0(vmid)
        bed.logged("changes-resumed")
    finally:
        bed.stop()
        detach("/var/lib/pvehooks")


def test_qm_lies(node: Make) -> None:
    """It says that it is done and nothing is there: said once, and not tried for ever."""
    bed = node()
    bed.qm.misbehave("lie", verb="set", vmid=100, times=None)
    bed.start()
    bed.write(100, uefi())
    (entry,) = bed.logged("not-verified", 100)
    assert entry["PRIORITY"] == "3"
    assert "pvehooks backups 100 --diff" in entry["MESSAGE"]
    bed.settle()
    assert bed.sets() == 1


def test_four_at_once_one_per_guest(node: Make) -> None:
    bed = node({f"{vmid}.conf": uefi(f"n{vmid}") for vmid in range(100, 112)}, settings=QM)
    seen = bed.directory / "seen"
    bed.qm.misbehave("pause", verb="set", times=None, until=str(seen))
    bed.start()
    wait_until(lambda: bed.sets() == 4, "four qm set")
    seen.touch()
    for vmid in range(100, 112):
        bed.wait_for_rng0(vmid)
    assert bed.qm.most_at_once() == 4
    assert bed.sets() == 12


def test_backups_are_kept(node: Make) -> None:
    bed = node()
    bed.start()
    bed.write(100, uefi())
    bed.wait_for_rng0(100)
    (backup,) = Path("/var/lib/pvehooks/backups").iterdir()
    assert backup.read_text() == uefi()
    record = json.loads(Path("/etc/pve/pvehooks/guests/100.json").read_text())
    assert record["rng0"]["state"] == "done"


def test_killed_at_random_moments(node: Make) -> None:
    """SIGKILL again and again during 100 injections: no config lost or half-written, every guest has its rng0 in the end."""
    guests = {vmid: uefi(f"n{vmid}") for vmid in range(100, 200)}
    bed = node({f"{vmid}.conf": text for vmid, text in guests.items()})
    chance = random.Random(4711)
    kills = 0

    lacks = list(guests)

    def lacking() -> bool:
        # Each read is answered by Python: only that of the first guest that lacks it is asked for again and again.
        while lacks and "rng0:" in bed.read(lacks[0]):
            lacks.pop(0)
        return bool(lacks)

    while lacking():
        # Of some no qm set has begun yet when it is killed, of others a dozen have.
        sets = bed.sets() + chance.randrange(12)
        bed.start(ready=False)
        wait_until(lambda sets=sets: bed.sets() >= sets or not lacking(), "progress", timeout=60)
        time.sleep(chance.uniform(0, 0.1))
        bed.signal(signal.SIGKILL)
        assert bed.daemon is not None
        bed.daemon.wait()
        kills += 1
    assert kills >= 5
    bed.start()
    bed.settle()
    for vmid, text in guests.items():
        assert sorted(bed.read(vmid).splitlines()) == sorted([*text.splitlines(), RNG0.rstrip()])
    assert bed.logged("started")
    for vmid in guests:
        record = json.loads(Path(f"/etc/pve/pvehooks/guests/{vmid}.json").read_text())
        assert record["rng0"]["value"] == RNG0.removeprefix("rng0: ").strip()
    assert not [name for name in os.listdir("/etc/pve/nodes/pve1/qemu-server") if not name.endswith(".conf")]


def test_old_guests_in_warn_mode(node: Make) -> None:
    """They are summed up as well."""
    bed = node({"100.conf": uefi("old", old=True)}, settings="[rng]\nmode = warn\n")
    bed.start()
    (entry,) = bed.logged("existing")
    assert "VM 100 (old)" in entry["MESSAGE"]


def test_old_guest_with_network_first_is_summed_up_apart(node: Make) -> None:
    bed = node({"100.conf": uefi("pxe", old=True).replace("order=scsi0;net0", "order=net0;scsi0")})
    bed.start()
    (entry,) = bed.logged("existing")
    assert "VM 100 (pxe) gets one only by VMID, see why: pvehooks check 100" in entry["MESSAGE"]
    assert "inject --all" not in entry["MESSAGE"]
    assert len(bed.journal.entries("PVEHOOKS_VMID=100", "PVEHOOKS_EVENT=existing")) == 1


def test_pmxcfs_gone_when_qm_ends(node: Make) -> None:
    """The daemon takes in what became of it, and goes on."""
    bed = node()
    bed.qm.misbehave("sleep", verb="set", vmid=100, seconds=1)
    bed.start()
    bed.write(100, uefi())
    wait_until(lambda: bed.qm.calls("set"), "qm set")
    bed.pve.kill()
    bed.logged("pmxcfs-away")
    bed.pve.restart()
    bed.wait_for_rng0(100)


def test_noise_of_qm_is_no_complaint(node: Make) -> None:
    """What a storage plugin or user.cfg has to complain of is none of this guest's lines."""
    bed = node()
    noise = "user config - ignore invalid acl member 'gone@pve'\n"
    bed.qm.misbehave("answer", verb="config", vmid=100, stdout=uefi(), stderr=noise, status=0)
    bed.start()
    bed.write(100, uefi())
    bed.wait_for_rng0(100)


def test_garbage_from_qm_config_is_tried_again(node: Make) -> None:
    bed = node()
    bed.qm.misbehave("answer", verb="config", vmid=100, stdout="error: out of cheese\n", stderr="", status=0)
    bed.start()
    bed.write(100, uefi())
    bed.logged("not-injected", 100)
    bed.wait_for_rng0(100)


@pytest.mark.parametrize("rule", ["rng-removed-by-admin", "rng-held-netboot-first"])
def test_to_ignore_what_holds_is_not_to_ask_for_it(node: Make, rule: str) -> None:
    bed = node(settings=f"[guest 100]\nignore = {rule}: I know\n")
    bed.start()
    if rule == "rng-removed-by-admin":
        bed.write(100, uefi())
        bed.write(100, bed.wait_for_rng0(100).replace(RNG0, ""))
    else:
        bed.write(100, uefi("pxe", old=True).replace("order=scsi0;net0", "order=net0;scsi0"))
    before = bed.sets()
    bed.write(100, bed.read(100) + "cores: 2\n")
    bed.settle()
    assert bed.sets() == before


def test_removed_although_the_record_was_not_ended(node: Make) -> None:
    """Killed between qm's change and the record: the next look completes the record, so that a removal is a removal."""
    bed = node()
    bed.start()
    bed.write(100, uefi())
    given = bed.wait_for_rng0(100)
    record = Path("/etc/pve/pvehooks/guests/100.json")
    bed.stop()
    record.write_text(record.read_text().replace('"done"', '"writing"'))
    bed.start()
    wait_until(lambda: '"done"' in record.read_text(), "the record is ended")
    bed.write(100, given.replace(RNG0, ""))
    bed.journal.wait_for("PVEHOOKS_RULE=rng-removed-by-admin")
    assert bed.sets() == 1


def test_nothing_is_reported_gone_while_it_waits(node: Make) -> None:
    bed = node(settings="[rng]\nmode = warn\n")
    bed.start()
    bed.write(100, uefi())
    bed.journal.wait_for("PVEHOOKS_RULE=rng-missing-netboot")
    bed.qm.misbehave("sleep", verb="set", seconds=1)
    bed.conf.write_text("[rng]\nmode = inject\n")
    bed.signal(signal.SIGHUP)
    bed.wait_for_rng0(100)
    bed.settle()
    assert not bed.journal.entries("PVEHOOKS_EVENT=mended")
    bed.notify.wait_for("STATUS", "1 VM watched, 0 findings; last change: VM 100 given rng0")


def test_another_guest_under_the_same_vmid(node: Make) -> None:
    """It went and another came while the daemon was down: what was said of the one is said of the other."""
    bed = node(settings="[rng]\nmode = warn\n")
    bed.start()
    bed.write(100, uefi("one"))
    bed.journal.wait_for("PVEHOOKS_RULE=rng-missing-netboot")
    bed.stop()
    bed.write(100, uefi("two").replace("b3247ab1", "b3247ab2"))
    bed.start()
    bed.journal.wait_for("PVEHOOKS_RULE=rng-missing-netboot", count=2)
