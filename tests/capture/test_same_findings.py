"""A capture tells what its node tells."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
import zlib
from collections import Counter
from pathlib import Path

import pytest

from pvehooks.capture import archive, collect, make
from pvehooks.capture.record import RecordingHost
from pvehooks.capture.replay import CapturedHost, host_at
from pvehooks.facts.guests import configs as guests
from pvehooks.formats import guestconfig
from pvehooks.records import baseline
from tests.beds import firmware, pci, uses
from tests.beds.tree import Content, Link, make_fake_tree
from tests.capture import planted
from tests.capture.bed import KEY, assert_same, captured, findings_of
from tests.conftest import SHARED_DATA
from tests.facts import captures
from tests.rules.example_tree import tree_of
from tests.rules.test_examples import EXAMPLES

GUESTS = "etc/pve/nodes/pve1/qemu-server"
# Every rule has examples, hundreds in all: a part of them, that is another one as rules come and go.
PART = 24
SOME = [path for path in sorted(EXAMPLES.iterdir()) if zlib.crc32(path.name.encode()) % PART == 0]
# What came out wrong once.
ALWAYS = (
    "boot-order-legacy.passing-network-first",
    "firmware-changed.passing",
    "interface-missing.passing",
    "acs-override-void.failing-value",
    "rng-missing-netboot.failing.own-2025",
    "vfs-made-late.failing-template",
    "pve-newer.failing",
)
RULES_ON_STARTS = ("bridge-missing", "volume-missing", "disk-path-missing", "port-missing", "cpus-too-many", "machine-too-new")
FOR_STARTS = [path for path in sorted(EXAMPLES.iterdir()) if path.name.startswith(RULES_ON_STARTS)]
CHOSEN = sorted({*SOME, *(path for path in EXAMPLES.iterdir() if path.stem in ALWAYS)})


@pytest.mark.parametrize("example", CHOSEN, ids=lambda path: path.stem)
def test_rules_example(example: Path, tmp_path: Path) -> None:
    assert_same(tree_of(example, tmp_path / "tree").root, "pve1", tmp_path)


@pytest.mark.parametrize("example", FOR_STARTS, ids=lambda path: path.stem)
def test_what_starts_need(example: Path, tmp_path: Path) -> None:
    """That a bridge, a disk or a port is there is in a capture, and that it is not."""
    assert_same(tree_of(example, tmp_path / "tree").root, "pve1", tmp_path)


@pytest.mark.shared_data
@pytest.mark.parametrize("name", captures.NAMES)
def test_real_kernel(name: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A guest for some of the devices of each real machine, one of them running."""
    tree = tmp_path / "tree"
    shutil.copytree(captures.materialise(name, tmp_path_factory), tree, symlinks=True, copy_function=os.link)
    addresses = sorted(captures.load(name)["pci"])[::6]
    configs: dict[str, Content] = {f"{GUESTS}/{100 + n}.conf": f"name: acme-{n}\nhostpci0: {each}\n" for n, each in enumerate(addresses)}
    made = assert_same(make_fake_tree(tree, configs), "pve1", tmp_path, plain=False)
    assert len(made.seen.findings) >= len(addresses)


@pytest.mark.shared_data
def test_all_configs_of_proxmox(tmp_path: Path) -> None:
    configs = sorted((SHARED_DATA / "vmconfigs").glob("*.conf"))
    files: dict[str, Content] = {f"{GUESTS}/{100 + n}.conf": path.read_bytes() for n, path in enumerate(configs)}
    made = assert_same(make_fake_tree(tmp_path / "tree", files), "pve1", tmp_path)
    assert len(made.seen.findings) > 100


@pytest.mark.parametrize("plant", [*uses.DISK_USES, *uses.CARD_USES, *uses.ANY_USES], ids=lambda plant: plant.__name__)
def test_use_of_a_device(plant: uses.Planter, tmp_path: Path) -> None:
    table = (
        "0000:01:00.0 class=010802 id=144d:a808 driver=nvme group=1 disk=nvme0n1/259:0/S649NX0R part=nvme0n1p1/259:1\n"
        "0000:02:00.0 class=020000 id=8086:1533 driver=igb group=2 net=eno1\n"
    )
    address = "0000:02:00.0" if plant in uses.CARD_USES else "0000:01:00.0"
    files: dict[str, Content] = {**uses.idle(), **pci.plant(table), f"{GUESTS}/100.conf": f"name: web\nhostpci0: {address}\n"}
    plant(files, address)
    made = assert_same(make_fake_tree(tmp_path / "tree", files), "pve1", tmp_path, plain=False)
    assert any(finding.severity.value == "block" for vmid, finding in made.seen.findings if vmid == 100)


def test_planted_node(tmp_path: Path) -> None:
    """All that has names on one node; its command line has a password, which no capture tells."""
    files = planted.tree()
    files["proc/cmdline"] = str(files["proc/cmdline"]).replace("password=correcthorse ", "")
    made = assert_same(make_fake_tree(tmp_path / "tree", files), planted.NODE, tmp_path)
    assert len({finding.rule for _, finding in made.seen.findings}) > 20
    assert made.seen.troubles == ()


def test_capture_is_a_tree(tmp_path: Path) -> None:
    """Unpacked by hand it tells the same, and may be written to as any tree."""
    look = make.look(str(make_fake_tree(tmp_path / "tree", planted.tree())), planted.NODE)
    file = tmp_path / "capture.tar.xz"
    file.write_bytes(make.packed(make.made(look, True, KEY)))
    subprocess.run(["tar", "-xf", str(file), "-C", str(tmp_path)], check=True)
    host = host_at(str(tmp_path / archive.TOP))
    assert isinstance(host, CapturedHost)
    assert findings_of(collect.at_everything(host, planted.NODE)) == findings_of(captured(look, True, tmp_path).again)
    host.replace("/etc/pve/pvehooks/new", b"x")
    assert (tmp_path / archive.TOP / "etc/pve/pvehooks/new").read_bytes() == b"x"


def test_a_difference_is_reported(tmp_path: Path) -> None:
    """Making a capture reports where its findings differ from those of the node."""
    made, _ = captured(make.look(str(make_fake_tree(tmp_path / "tree", planted.tree())), planted.NODE), True, tmp_path)
    directory = tmp_path / "plain"
    assert make.compared(made, str(directory)) == []
    (directory / planted.GUESTS / "101.conf").write_text("name: other\n")
    words = make.compared(made, str(directory))
    assert any(word.startswith("VM 101: group-in-use-by-host (block) is missing in the capture") for word in words), words


def test_facts_that_no_tree_holds(tmp_path: Path) -> None:
    """Owners and sizes are those of the node."""
    tree = make_fake_tree(tmp_path / "tree", planted.tree())
    os.chown(tree / "srv/tankstelle/dompfad/snippets", 1000, 1000)
    captured(make.look(str(tree), planted.NODE), True, tmp_path)
    host = host_at(str(tmp_path / "plain"))
    assert host.owner_and_mode("/srv/tankstelle/dompfad/snippets")[0] == 1000
    assert host.size("/dev/shm/pve-shm-memshareabc") == 14
    assert host.now() < time.time()


@pytest.mark.parametrize("plain", [True, False], ids=["plain", "disguised"])
def test_guests_that_were_not_edited(plain: bool, tmp_path: Path) -> None:
    """They are known by a sum of their config, which is another one in a capture; one that was edited stays edited."""
    uefi = "bios: ovmf\nefidisk0: local-lvm:vm-1-disk-0,efitype=4m,size=4M\n"
    untouched, edited = f"name: acme\ncipassword: secret\n{uefi}", f"name: other\n{uefi}"
    mark = baseline.fingerprint(guestconfig.parse(untouched.encode()))
    files: dict[str, Content] = {
        f"{GUESTS}/100.conf": untouched,
        f"{GUESTS}/101.conf": edited,
        "etc/pve/nodes/geheimname/qemu-server/102.conf": edited,
        "etc/pve/pvehooks/first-look/pve1.json": f'{{"version": 1, "time": 1700000000, "node": "pve1", "guests": {{"100": "{mark}", "101": ["{mark}", 1600000000]}}}}',
        "etc/pve/pvehooks/first-look/geheimname.json": f'{{"version": 1, "time": 1, "node": "geheimname", "guests": {{"100": ["{mark}", 9]}}}}',
    }
    made, _ = captured(make.look(str(make_fake_tree(tmp_path / "tree", files)), "pve1"), plain, tmp_path)
    host = host_at(str(tmp_path / ("plain" if plain else "disguised")))
    guest_context = guests.gather_context(host, made.node, baseline.read(host, made.node))
    statuses = [guests.read(host, made.node, vmid, guest_context).baseline_status for vmid in (100, 101)]
    assert [(each.untouched, each.old) for each in statuses] == [(True, True), (False, True)]
    others = [name for name in host.names(baseline.DIRECTORY) if name != f"{made.node}.json"]
    assert len(others) == 1 and (others == ["geheimname.json"]) == plain
    look = baseline.read_file(host, f"{baseline.DIRECTORY}/{others[0]}")
    assert look is not None and look.guests[100].time == 9 and (look.node == "geheimname") == plain
    assert look.guests[100].fingerprint == baseline.fingerprint(
        guestconfig.parse(host.read(f"/etc/pve/nodes/{made.node}/qemu-server/100.conf"))
    )


def home_tree() -> dict[str, Content]:
    """A node whose admin keeps firmware, disks and a storage in people's own directories; VM 105 names what is not there."""
    uefi = "bios: ovmf\nefidisk0: local:1/vm-1-disk-0.raw,efitype=4m,size=528K\nboot: order=net0\nnet0: virtio=BC:24:11:00:00:01,bridge=vmbr0\n"
    own = firmware.image(release="2024.05")
    return {
        f"{GUESTS}/100.conf": f"name: one\n{uefi}args: -bios /root/images/own.fd\n",
        f"{GUESTS}/101.conf": f"name: two\n{uefi}args: -bios /root/link\n",
        f"{GUESTS}/102.conf": f"name: three\n{uefi}args: -drive if=pflash,format=raw,readonly=on,file=/" + "home/eve/code.bin\n",
        f"{GUESTS}/103.conf": f"name: four\n{uefi}args: -bios /srv/code.bin\n",
        f"{GUESTS}/104.conf": "name: five\nsata0: /root/disks/there.raw\nscsi0: big:104/vm-104-disk-0.raw\n",
        f"{GUESTS}/105.conf": "name: six\nsata0: /root/disks/gone.raw\nscsi0: big:105/vm-105-disk-0.raw\n",
        "etc/pve/storage.cfg": "dir: big\n\tpath /" + "home/storage\n\tcontent images\n",
        "root/images/own.fd": own,
        "root/link": Link("elsewhere/real.fd"),
        "root/elsewhere/real.fd": own,
        "home/eve/code.bin": own,
        "srv/code.bin": bytes(40) + b"_FVH" + own,
        "root/disks/there.raw": "geheim",
        "root/disks/other": "geheim",
        "root/.bash_history": "geheim",
        "home/storage/images/104/vm-104-disk-0.raw": "",
    }


def test_images_and_disks_in_homes(tmp_path: Path) -> None:
    made = assert_same(make_fake_tree(tmp_path / "tree", home_tree()), "pve1", tmp_path)
    found = Counter((vmid, finding.rule) for vmid, finding in made.seen.findings)
    assert {vmid for vmid, rule in found if rule == "rng-missing-netboot"} == {100, 101, 102, 103}
    assert {(vmid, rule) for vmid, rule in found if rule.endswith("-missing") and vmid in (104, 105)} >= {
        (105, "disk-path-missing"),
        (105, "volume-missing"),
    }
    assert (104, "disk-path-missing") not in found and (104, "volume-missing") not in found


def test_of_homes_only_what_is_named(tmp_path: Path) -> None:
    """And of that only what a judgement needs."""
    host = RecordingHost(str(make_fake_tree(tmp_path / "tree", home_tree())))
    collect.at_everything(host, "pve1")
    for path in ("/root/.bash_history", "/root/disks/other", "/root/disks/there.raw"):
        host.read(path)
    host.names("/root")
    things = collect.files_of(host.recording).things
    shown = {path for path in things if path.startswith(("/root", "/" + "home"))}
    assert shown >= {"/root", "/root/disks", "/root/disks/there.raw", "/root/images/own.fd", "/root/link", "/root/elsewhere/real.fd"}
    assert not shown & {"/root/.bash_history", "/root/disks/other"}
    assert not any(b"geheim" in (thing.content or b"") for thing in things.values())
