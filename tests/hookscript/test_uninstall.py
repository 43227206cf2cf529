"""What stays and what goes when the package is uninstalled (libexec/uninstall)."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pvehooks.actions import node_notes
from pvehooks.formats import nodenotes
from tests.beds.qm import Qm
from tests.hookscript.bed import PROJECT, SNIPPETS, Ran, attach, call, config, script

UNINSTALL = PROJECT / "libexec/uninstall"
FORMER = "local:snippets/hook.pl"
CHAINED = "pvehooks-guard-local+hook.pl"


@pytest.fixture
def qm(tmp_path: Path) -> Qm:
    """A node with a guest of each kind."""
    qm = Qm(tmp_path / "qm")
    script(SNIPPETS / "hook.pl", "#!/bin/sh\n")
    attach()
    attach(CHAINED)
    attach("pvehooks-guard-local+gone.sh")
    script(SNIPPETS / "pvehooks-guard-mine", "#!/bin/sh\n# somebody else's\n")
    Path("/etc/pve/pvehooks/guests").mkdir(parents=True)
    Path("/etc/pve/local/pvehooks.json").write_text('{"version": "1"}\n')
    Path("/etc/pve/local/pvehooks-summary.json").write_text("{}\n")
    return qm


def attached(vmid: int, name: str = "pvehooks-guard", more: str = "", record: bool = True) -> None:
    config(f"hookscript: local:snippets/{name}\nmemory: 512\n{more}", vmid)
    if record:
        Path(f"/etc/pve/pvehooks/guests/{vmid}.json").write_text('{"attachment": {"volid": "x"}, "version": 1}\n')


def uninstall(qm: Qm, how: str = "purge") -> Ran:
    return call(UNINSTALL, how, PATH=f"{qm.bin}:/usr/bin:/bin:/usr/sbin")


def text(vmid: int) -> str:
    return Path(f"/etc/pve/nodes/pve1/qemu-server/{vmid}.conf").read_text()


def test_remove_leaves_all_but_the_word_that_the_package_is_here(qm: Qm) -> None:
    attached(100)
    assert uninstall(qm, "remove").status == 0
    assert not list(Path("/etc/pve/local/").glob("pvehooks*"))
    assert "hookscript: local:snippets/pvehooks-guard\n" in text(100)
    assert (SNIPPETS / "pvehooks-guard").exists()


STAYS = "pvehooks: left: the guard of VMs {}. They start as before, and nothing checks any more what a start takes from this node. To take it off:"


def test_remove_names_the_guarded_and_what_takes_the_guard_off(qm: Qm) -> None:
    """As it stands."""
    attached(100)
    attached(1000, record=False)
    attached(101, CHAINED)
    config("memory: 512\n\n[before]\nhookscript: local:snippets/pvehooks-guard\nsnaptime: 1\n", 102)
    config("hookscript: local:snippets/hook.pl\n", 103)
    script(SNIPPETS / "a b's.sh", "#!/bin/sh\n")
    attached(104, "pvehooks-guard-local+a b's.sh")
    config("hookscript: local:snippets/pvehooks-guard\n", 200, node="pve2")
    ran = uninstall(qm, "remove")
    first, *commands = ran.out.splitlines()
    assert (ran.status, ran.err, first) == (0, "", STAYS.format("100 101 104 1000, unless the package is purged"))
    assert commands == [
        "    for vm in 100 1000; do qm set $vm --delete hookscript; done",
        "    for vm in 104; do qm set $vm --hookscript 'local:snippets/a b'\\''s.sh'; done",
        f"    for vm in 101; do qm set $vm --hookscript {FORMER}; done",
    ]
    call(script(SNIPPETS.parent / "typed", "#!/bin/sh\n" + "\n".join(commands)), PATH=f"{qm.bin}:/usr/bin:/bin")
    assert [text(vmid).split("\n")[0] for vmid in (100, 1000, 101, 104)] == [
        *["memory: 512"] * 2,
        f"hookscript: {FORMER}",
        "hookscript: local:snippets/a b's.sh",
    ]
    assert uninstall(qm, "remove") == (0, "", "")


def test_purge_puts_everything_back(qm: Qm) -> None:
    attached(100)
    attached(101, CHAINED)
    config("hookscript: local:snippets/hook.pl\nmemory: 512\n", 102)
    ran = uninstall(qm)
    assert ran == (0, f"pvehooks: VM 100: the guard was taken out\npvehooks: VM 101: its own hookscript {FORMER} is back\n", "")
    assert text(100) == "memory: 512\n"
    assert text(101) == text(102) == f"hookscript: {FORMER}\nmemory: 512\n"
    assert all(call_.option("digest") for call_ in qm.calls("set"))
    assert sorted(path.name for path in SNIPPETS.iterdir()) == ["hook.pl", "pvehooks-guard-mine"]
    assert uninstall(qm) == (0, "", "")


TAG = '{"tag": {"state": "done", "value": "pvehooks-blocked", "when": 1}, "uuid": null, "version": 1}\n'


def tagged(vmid: int, tags: str, record: bool = True, more: str = "") -> None:
    config(f"memory: 512\ntags: {tags}\n{more}", vmid)
    if record:
        Path(f"/etc/pve/pvehooks/guests/{vmid}.json").write_text(TAG)


@pytest.mark.parametrize("how", ["remove", "purge"])
def test_tags_go_with_the_package(qm: Qm, how: str) -> None:
    """Ours alone, and none that pvehooks did not give; of a guest of this node."""
    tagged(100, "pvehooks-blocked")
    tagged(101, "pvehooks-blocked-not;pvehooks-warning;web")
    tagged(102, "pvehooks-blocked;web", record=False)
    tagged(103, "web")
    before = "memory: 512\ntags: pvehooks-blocked\n\n[before]\nmemory: 512\nsnaptime: 1\ntags: pvehooks-blocked\n"
    tagged(104, "pvehooks-blocked", more="\n[before]\nmemory: 512\nsnaptime: 1\ntags: pvehooks-blocked\n")
    assert text(104) == before
    assert uninstall(qm, how) == (0, "", "")
    assert text(100) == "memory: 512\n"
    assert text(101) == "memory: 512\ntags: pvehooks-blocked-not;web\n"
    assert text(102) == "memory: 512\ntags: pvehooks-blocked;web\n"
    assert text(103) == "memory: 512\ntags: web\n"
    assert text(104) == before.replace("tags: pvehooks-blocked\n", "", 1)
    assert all(call_.option("digest") for call_ in qm.calls("set"))
    for vmid in (100, 101, 103, 104):
        left = Path(f"/etc/pve/pvehooks/guests/{vmid}.json").read_text()
        assert left == '{"uuid": null, "version": 1}\n', "a later installation takes this for nobody's doing"
    assert uninstall(qm, how) == (0, "", "")


def test_a_tag_that_cannot_go_is_named(qm: Qm) -> None:
    tagged(100, "pvehooks-blocked", more="lock: backup\n")
    tagged(101, "pvehooks-blocked", more="\n[PENDING]\nmemory: 1024\n")
    assert uninstall(qm, "remove").out == (
        "pvehooks: VM 100: left: its tag of pvehooks: VM is locked (backup)\n"
        "pvehooks: VM 101: left: its tag of pvehooks: other changes are pending (qm pending 101), which would be applied as well\n"
    )
    assert "tags: pvehooks-blocked\n" in text(100) and "tags: pvehooks-blocked\n" in text(101)
    assert Path("/etc/pve/pvehooks/guests/100.json").read_text() == TAG


NOTES = Path("/etc/pve/nodes/pve1/config")
MINE = b"## Rack 3  \n#%C3%BCber%3A 50 %25%0D\n  #x\nwakeonlan: x\nacme: account=default\nunknown line\n"


@pytest.mark.parametrize("how", ["remove", "purge"])
@pytest.mark.parametrize("before", [b"", b"#mine\n", MINE])
@pytest.mark.parametrize("line_end", [b"\n", b"%0D\n", b" \r\n"])
def test_the_block_in_the_notes_goes_and_nothing_else(qm: Qm, how: str, before: bytes, line_end: bytes) -> None:
    block = nodenotes.with_block(before, ["", "- VM 100: 5 %", ""])
    NOTES.write_bytes(block.replace(b"-->\n", b"-->" + line_end))
    Path(node_notes.WRITTEN).touch()
    assert uninstall(qm, how) == (0, "", "")
    assert (
        (NOTES.read_bytes() if NOTES.exists() else b"") == before
        and NOTES.exists() == bool(before)
        and not Path(node_notes.WRITTEN).exists()
    )
    assert uninstall(qm, how) == (0, "", "") and NOTES.exists() == bool(before)


@pytest.mark.parametrize("mark", [nodenotes.BEGIN, nodenotes.END])
def test_a_block_whose_marks_were_edited_is_named(qm: Qm, mark: str) -> None:
    edited = nodenotes.with_block(MINE, ["a"]).replace(nodenotes.encoded(mark), b"")
    NOTES.write_bytes(edited)
    assert uninstall(qm, "remove").out == "pvehooks: left: a block in the node's notes, whose marks were edited; delete it by hand\n"
    assert NOTES.read_bytes() == edited


def test_purge_takes_what_an_interrupted_write_left(qm: Qm) -> None:
    for path in (
        SNIPPETS / "pvehooks-guard.tmp.99",
        *(Path("/etc/pve/local") / f"{name}.json.tmp.7" for name in ("pvehooks", "pvehooks-summary")),
    ):
        path.touch()
    assert uninstall(qm) == (0, "", "")
    assert not list(Path("/etc/pve/local/").glob("pvehooks*")) and not list(SNIPPETS.glob("*.tmp.*"))


def test_purge_is_not_held_by_what_another_puts_on_a_share(qm: Qm, tmp_path: Path) -> None:
    """A FIFO is not opened; names do nothing to the terminal."""
    share = tmp_path / "share"
    (share / "snippets").mkdir(parents=True)
    Path("/etc/pve/storage.cfg").write_text(f"nfs: share\n\tpath {share}\n\tserver s\n\texport /e\n")
    os.mkfifo(share / "snippets/pvehooks-guard-fifo")
    name = "pvehooks-guard-\x1b[31m\\033c"
    (share / "snippets" / name).write_text("#!/bin/sh\n# The hookscript of pvehooks\n")
    attached(100, more=f"\n[before]\nhookscript: share:snippets/{name}\nsnaptime: 1\n")
    ran = uninstall(qm)
    assert ran.status == 0 and f"left: {share}/snippets/pvehooks-guard-?[31m\\033c, which" in ran.out


def test_purge_keeps_what_anybody_still_names(qm: Qm) -> None:
    """A snapshot, a guest of another node, a guest that somebody else attached it to."""
    attached(100, more="\n[before]\nhookscript: local:snippets/pvehooks-guard-local+gone.sh\nsnaptime: 1\n")
    config(f"hookscript: local:snippets/{CHAINED}\n", 200, node="pve2")
    attached(101, record=False)
    out = uninstall(qm).out
    kept = ["pvehooks-guard", "pvehooks-guard-local+gone.sh", CHAINED]
    assert sorted(path.name for path in SNIPPETS.iterdir()) == sorted(["hook.pl", "pvehooks-guard-mine", *kept])
    for name, vmid in zip(kept, (101, 100, 200), strict=True):
        assert f"pvehooks: left: /var/lib/vz/snippets/{name}, which these VMs or their snapshots name: {vmid}. They start with it" in out
    assert f"{STAYS.format(101)}\n    for vm in 101; do qm set $vm --delete hookscript; done\n" in out
    assert "hookscript: local:snippets/pvehooks-guard\n" in text(101)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("lock: backup\n", "VM is locked (backup)"),
        ("\n[PENDING]\nmemory: 1024\n", "other changes are pending (qm pending 100), which would be applied as well"),
        ("onbot: 1\n", "PVE would lose something of its config: vm 100 - "),
    ],
)
def test_purge_reports_what_it_cannot_do(qm: Qm, more: str, words: str) -> None:
    attached(100, more=more)
    before = text(100)
    out = uninstall(qm).out
    assert out.startswith(f"pvehooks: VM 100: left: its hookscript local:snippets/pvehooks-guard: {words}")
    assert out.splitlines()[1].startswith(
        "pvehooks: left: /var/lib/vz/snippets/pvehooks-guard, which these VMs or their snapshots name: 100. They"
    )
    assert text(100) == before


def test_purge_names_the_guests_that_keep_their_rng0(qm: Qm) -> None:
    """Those that have it as it was given."""
    given = "source=/dev/urandom,max_bytes=1024,period=1000"
    record = json.dumps({"accepted": {"value": "x"}, "rng0": {"state": "done", "value": given, "when": 1}, "version": 1})
    more = "\n[before]\nmemory: 512\nsnaptime: 1\n"
    for vmid, options in (
        (100, f"rng0: {given}\n"),
        (101, ""),
        (102, "rng0: source=/dev/hwrng\n"),
        (103, f"rng0: {given}\n{more}"),
        (104, more),
    ):
        config(f"memory: 512\n{options}", vmid)
        Path(f"/etc/pve/pvehooks/guests/{vmid}.json").write_text(record + "\n")
    config(f"memory: 512\nrng0: {given}\n", 105)
    lines = (
        "pvehooks: left: the rng0 of VMs that were given one: 100 103. It is an ordinary option. To remove it:",
        "    for vm in 100 103; do qm set $vm --delete rng0; done",
    )
    assert uninstall(qm) == (0, "\n".join(lines) + "\n", "")
    assert uninstall(qm, "remove").out == ""


def test_purge_reports_firmware_images(qm: Qm) -> None:
    assert "efi-firmware" not in uninstall(qm).out
    images = SNIPPETS.parent / "efi-firmware"
    images.mkdir()
    assert "efi-firmware" not in uninstall(qm).out, "nothing is in it"
    (images / "own.fd").write_text("x")
    assert "pvehooks: left: /var/lib/vz/efi-firmware, firmware images; VMs that were given one start with it as before" in uninstall(qm).out
    assert "efi-firmware" not in uninstall(qm, "remove").out
    assert (images / "own.fd").read_text() == "x"


def test_a_former_that_is_gone(qm: Qm) -> None:
    (SNIPPETS / "hook.pl").unlink()
    attached(100, CHAINED)
    assert (
        "VM 100: left: its hookscript local:snippets/pvehooks-guard-local+hook.pl: 400 Parameter verification failed" in uninstall(qm).out
    )
    assert (SNIPPETS / CHAINED).exists()


def test_without_pmxcfs(qm: Qm) -> None:
    attached(100)
    Path("/etc/pve/local").unlink()
    assert uninstall(qm) == (10, "", "")
    assert (SNIPPETS / "pvehooks-guard").exists()
