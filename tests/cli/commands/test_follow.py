"""pvehooks follow: slots change between two boots, and configs and mappings name the same devices again."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.beds import pci, uses
from tests.beds.tree import Content, Link, make_fake_tree
from tests.cli.test_cli import pvehooks

Golden = Callable[[str, str], None]
CONFIGS = "etc/pve/nodes/pve1/qemu-server"
PORTS = """
0000:00:1c.0 class=060400 id=8086:1901 driver=pcieport bridge
0000:00:1d.0 class=060400 id=8086:1901 driver=pcieport bridge
0000:00:1e.0 class=060400 id=8086:1901 driver=pcieport bridge
"""
# Two NVMe twins, a graphics card with sound, a network card that the host names, and one for a VM.
BEFORE = f"""{PORTS}
0000:01:00.0 class=010802 id=144d:a808 driver=nvme group=1 behind=0000:00:1c.0 disk=nvme0n1/259:0/S1
0000:02:00.0 class=010802 id=144d:a808 driver=nvme group=2 behind=0000:00:1d.0 disk=nvme1n1/259:1/S2
0000:03:00.0 class=030000 id=10de:2204 driver=vfio-pci group=3 behind=0000:00:1e.0
0000:03:00.1 class=040300 id=10de:1aef driver=vfio-pci group=3 behind=0000:00:1e.0
0000:05:00.0 class=020000 id=8086:1533 driver=igb group=5 net=enp5s0/52:54:00:00:00:05
0000:06:00.0 class=020000 id=8086:1533 driver=igb group=6 net=enp6s0/52:54:00:00:00:06
"""
# The twins have changed places, and a card that came has moved all else by one bus.
AFTER = f"""{PORTS}
0000:01:00.0 class=010400 id=1000:0016 driver=megaraid_sas group=9
0000:02:00.0 class=010802 id=144d:a808 driver=nvme group=1 behind=0000:00:1c.0 disk=nvme0n1/259:0/S2
0000:03:00.0 class=010802 id=144d:a808 driver=nvme group=2 behind=0000:00:1d.0 disk=nvme1n1/259:1/S1
0000:04:00.0 class=030000 id=10de:2204 driver=vfio-pci group=3 behind=0000:00:1e.0
0000:04:00.1 class=040300 id=10de:1aef driver=vfio-pci group=3 behind=0000:00:1e.0
0000:06:00.0 class=020000 id=8086:1533 driver=igb group=15 net=enp6s0/52:54:00:00:00:05
0000:07:00.0 class=020000 id=8086:1533 driver=igb group=6 net=enp7s0/52:54:00:00:00:06
"""
MAPPING = """disk
	description the fast one
	map id=144d:a808,iommugroup=1,node=pve1,path=0000:01:00.0
	map id=144d:a808,iommugroup=7,node=pve2,path=0000:01:00.0

nic
	map id=8086:1533,iommugroup=6,node=pve1,path=0000:06:00.0
"""
REST: dict[str, Content] = {
    f"{CONFIGS}/100.conf": "hostpci0: 03:00,pcie=1,x-vga=1\nhostpci1: host=0000:01:00.0,rombar=0\nname: gpu\nmachine: q35\n",
    f"{CONFIGS}/101.conf": "hostpci0: mapping=disk\nname: mapped\n",
    f"{CONFIGS}/102.conf": "memory: 512\nname: plain\n",
    "etc/pve/nodes/pve2/qemu-server/200.conf": "hostpci0: 0000:01:00.0\n",
    "etc/pve/local": Link("nodes/pve1"),
    "etc/pve/mapping/pci.cfg": MAPPING,
    "etc/network/interfaces": "auto vmbr0\niface vmbr0 inet static\n\taddress 192.0.2.1/24\n\tbridge-ports enp5s0\n",
}


def planted(directory: Path, table: str = BEFORE, **more: Content) -> Path:
    return make_fake_tree(directory, uses.idle() | pci.plant(table) | REST | more)


def rebooted(tree: Path, table: str = AFTER) -> None:
    """The same node with other slots."""
    shutil.rmtree(tree / "sys")
    make_fake_tree(tree, pci.plant(table))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = planted(tmp_path / "tree")
    assert pvehooks(tree, "follow", "--all", "--note") == ""
    return tree


def config(tree: Path, vmid: int = 100) -> str:
    return (tree / CONFIGS / f"{vmid}.conf").read_text()


def mapping(tree: Path) -> str:
    return (tree / "etc/pve/mapping/pci.cfg").read_text()


def test_nothing_has_moved(tree: Path) -> None:
    assert pvehooks(tree, "follow", "--all") == "every VM and mapping names its devices where they are\n"
    assert pvehooks(tree, "follow", "100") == "VM 100 (gpu): its devices are where it names them\n"


def test_slots_have_changed(tree: Path, golden: Golden) -> None:
    rebooted(tree)
    before, mapped = config(tree), mapping(tree)
    golden("cli/follow-dry-run.txt", pvehooks(tree, "follow", "--all", "--dry-run"))
    assert (config(tree), mapping(tree)) == (before, mapped)
    golden("cli/follow.txt", pvehooks(tree, "follow", "--all"))
    assert config(tree) == before.replace("03:00,", "04:00,").replace("0000:01:00.0", "0000:03:00.0")
    assert mapping(tree) == mapped.replace("iommugroup=1,node=pve1,path=0000:01:00.0", "iommugroup=2,node=pve1,path=0000:03:00.0").replace(
        "path=0000:06:00.0", "path=0000:07:00.0"
    ).replace("iommugroup=7,node=pve1", "iommugroup=7,node=pve2")
    golden("cli/follow-again.txt", pvehooks(tree, "follow", "100", "disk"))


def test_moves_back(tree: Path) -> None:
    """What was followed is remembered where it is now."""
    before, mapped = config(tree), mapping(tree)
    rebooted(tree)
    pvehooks(tree, "follow", "--all")
    rebooted(tree, BEFORE)
    pvehooks(tree, "follow", "--all")
    assert (config(tree), mapping(tree)) == (before, mapped)


def test_json(tree: Path) -> None:
    rebooted(tree)
    shown = json.loads(pvehooks(tree, "follow", "100", "nic", "--dry-run", "--json"))
    guest, nic = shown["results"]
    assert guest["values"] == [
        "hostpci0: 03:00,pcie=1,x-vga=1 -> 04:00,pcie=1,x-vga=1",
        "hostpci1: host=0000:01:00.0,rombar=0 -> host=0000:03:00.0,rombar=0",
    ]
    assert (nic["vmid"], nic["mapping"], nic["moved"]) == (None, "nic", ["map 0000:06:00.0 0000:07:00.0"])
    (card,) = shown["related"]
    assert card["place"] == "/etc/network/interfaces" and "enp5s0/enp6s0" in card["command"].replace("\\b", "")


TWINS = """
0000:01:00.0 class=0c0330 id=1912:0014 driver=xhci_hcd group=1 behind=0000:00:1c.0
0000:02:00.0 class=0c0330 id=1912:0014 driver=xhci_hcd group=2 behind=0000:00:1d.0
"""
NO_NUMBER = "hostpci0: 0000:01:00.0\nname: usb\n"


@pytest.mark.parametrize(
    ("after", "status", "value", "words"),
    [
        pytest.param(TWINS, 0, "0000:01:00.0", "its devices are where it names them", id="as before"),
        pytest.param(
            TWINS.replace("0000:02:00", "0000:03:00").replace("0000:01:00", "0000:02:00"),
            0,
            "0000:02:00.0",
            "the same slot",
            id="other buses",
        ),
        pytest.param(
            TWINS.replace("0000:00:1c.0", "0000:00:1e.0").replace("0000:01:00", "0000:04:00"), 0, "0000:04:00.0", "the only one", id="moved"
        ),
        pytest.param(
            TWINS.replace("0000:00:1c.0", "0000:00:1e.0").replace("0000:00:1d.0", "0000:00:1f.0").replace("0000:01:00", "0000:04:00"),
            1,
            "0000:01:00.0",
            "2 devices fit: neither a serial number nor the slot shows which of them it is; 0000:02:00.0 (",
            id="both moved",
        ),
        pytest.param(
            TWINS[: TWINS.index("0000:01")] + TWINS[TWINS.index("0000:02") :],
            1,
            "0000:01:00.0",
            "what is at 0000:02:00.0 sits where another one of its kind was",
            id="gone",
        ),
        pytest.param("", 1, "0000:01:00.0", "no device of the node is of its kind", id="both gone"),
    ],
)
def test_twins_without_a_number(after: str, status: int, value: str, words: str, tmp_path: Path) -> None:
    tree = planted(tmp_path / "tree", PORTS + TWINS, **{f"{CONFIGS}/100.conf": NO_NUMBER})
    pvehooks(tree, "follow", "100", "--note")
    rebooted(tree, PORTS + after)
    assert words in pvehooks(tree, "follow", "100", status=status)
    assert config(tree) == NO_NUMBER.replace("0000:01:00.0", value)


def test_another_disk_of_its_kind_is_not_it(tree: Path) -> None:
    """Its own was taken out: the twin, which has another serial number, is left alone."""
    without = "\n".join(line for line in AFTER.splitlines() if "S1" not in line)
    rebooted(tree, without)
    output = pvehooks(tree, "follow", "100", status=1)
    assert "it has serial number S1, and 0000:02:00.0 has serial number S2" in output
    assert "hostpci1: host=0000:01:00.0" in config(tree) and "hostpci0: 03:00" in config(tree), "all or nothing"


def test_serial_number_is_remembered_while_the_disk_is_on_vfio(tree: Path) -> None:
    rebooted(tree, BEFORE.replace("driver=nvme", "driver=vfio-pci"))
    pvehooks(tree, "follow", "100", "--note")
    rebooted(tree)
    pvehooks(tree, "follow", "100")
    assert "host=0000:03:00.0" in config(tree)


def test_device_that_was_never_seen(tmp_path: Path) -> None:
    tree = planted(tmp_path / "tree", **{f"{CONFIGS}/100.conf": "hostpci0: 0000:09:00.0\nname: gpu\n"})
    output = pvehooks(tree, "follow", "100", status=1)
    assert "hostpci0: 0000:09:00.0 is not on the bus, and which device that was is not known" in output


def test_device_that_was_never_seen_beside_one_that_moved(tree: Path) -> None:
    """All or nothing, for a VM as for a mapping."""
    path = tree / "etc/pve/mapping/pci.cfg"
    path.write_text(path.read_text().replace("\n\nnic", "\n\tmap id=144d:a808,node=pve1,path=0000:09:00.0\n\nnic"))
    with (tree / CONFIGS / "100.conf").open("a") as file:
        file.write("hostpci2: 09:00.0\n")
    rebooted(tree)
    before = config(tree), mapping(tree)
    output = pvehooks(tree, "follow", "100", "disk", status=1)
    assert "VM 100 (gpu): nothing was changed: hostpci2: 0000:09:00.0 is not on the bus" in output
    assert "mapping disk: nothing was changed: map: 0000:09:00.0 is not on the bus" in output
    assert (config(tree), mapping(tree)) == before


def test_device_of_an_accepted_start(tmp_path: Path) -> None:
    """Nothing was remembered before, as with a package of an older version: what the VM started with is what it means."""
    accepted = {
        "version": 1,
        "uuid": None,
        "ctime": None,
        "accepted": {
            "pve1": {
                "hostpci": {"hostpci1": "host=0000:01:00.0,rombar=0"},
                "devices": {"0000:01:00.0": {"id": "144d:a808", "class": "010802", "serial": "S1"}},
                "members": ["0000:01:00.0"],
            }
        },
    }
    record = "etc/pve/pvehooks/guests/100.json"
    tree = planted(
        tmp_path / "tree", AFTER, **{record: json.dumps(accepted), f"{CONFIGS}/100.conf": "hostpci1: host=0000:01:00.0,rombar=0\n"}
    )
    output = pvehooks(tree, "follow", "100")
    assert config(tree) == "hostpci1: host=0000:03:00.0,rombar=0\n", output
    now = json.loads((tree / record).read_text())["accepted"]["pve1"]
    assert list(now["devices"]) == now["members"] == ["0000:03:00.0"] and now["hostpci"] == {"hostpci1": "host=0000:03:00.0,rombar=0"}


def test_accepted_device_is_the_one_that_is_meant(tree: Path) -> None:
    """An administrator says that the device at the address is the right one."""
    rebooted(tree)
    pvehooks(tree, "trust", "100")
    before = config(tree)
    assert pvehooks(tree, "follow", "100").startswith("VM 100 (gpu): its devices are where it names them\n")
    assert config(tree) == before


def test_virtual_function_moves_with_its_physical_one(tmp_path: Path) -> None:
    card = "0000:0{bus}:00.0 class=020000 id=8086:10c9 driver=igb group=1 behind=0000:00:1c.0 net=eno1/52:54:00:00:00:01\n"
    vfs = "".join(
        f"0000:0{{bus}}:10.{n} class=020000 id=8086:10ca group={n + 2} behind=0000:00:1c.0 pf=0000:0{{bus}}:00.0\n" for n in (0, 1)
    )
    table = PORTS + card + vfs
    tree = planted(tmp_path / "tree", table.format(bus=1), **{f"{CONFIGS}/100.conf": "hostpci0: 01:10.1\n"})
    pvehooks(tree, "follow", "100", "--note")
    rebooted(tree, (PORTS + card).format(bus=2))
    assert "pvehooks bind 0000:02:00.0 --vfs 2 --now --persist" in pvehooks(tree, "follow", "100", status=1)
    rebooted(tree, table.format(bus=2))
    pvehooks(tree, "follow", "100")
    assert config(tree) == "hostpci0: 02:10.1\n"


def test_names_of_cards_that_became_those_of_others(tree: Path) -> None:
    """One command for all: one after the other would rename a card twice."""
    interfaces = tree / "etc/network/interfaces"
    interfaces.write_text(interfaces.read_text() + "\nauto vmbr1\niface vmbr1 inet manual\n\tbridge-ports enp6s0\n")
    pvehooks(tree, "follow", "--all", "--note")
    rebooted(tree)
    shown = json.loads(pvehooks(tree, "follow", "--all", "--dry-run", "--json"))
    (card,) = shown["related"]
    edit, _, _ = card["command"].partition(" && ")
    subprocess.run(edit.replace("/etc/", f"{tree}/etc/"), shell=True, check=True)
    assert re.findall("bridge-ports (.*)", interfaces.read_text()) == ["enp6s0", "enp7s0"], edit


def test_another_vm_that_names_the_new_address(tree: Path) -> None:
    (tree / CONFIGS / "103.conf").write_text("hostpci0: 04:00.0\nname: other\n")
    rebooted(tree)
    output = pvehooks(tree, "follow", "100")
    assert "attention: hostpci0 of VM 103 (other) names 0000:04:00.0 as well; if that moved, too: pvehooks follow 103" in output


def test_note_for_boot(tree: Path) -> None:
    pvehooks(tree, "bind", "0000:02:00.0", "--persist")
    rebooted(tree)
    # Its place tells the two apart: nothing else is in the note, which has no serial number.
    assert "bind.d" not in pvehooks(tree, "follow", "--all", "--dry-run")
    note = tree / "etc/pvehooks/bind.d/0000:02:00.0"
    note.write_text(note.read_text().replace("144d:a808", "10de:2204"))
    output = pvehooks(tree, "follow", "--all", "--dry-run")
    assert "pvehooks unbind 0000:02:00.0 --persist; pvehooks bind 0000:04:00.0 --persist" in output


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        ([], 2, "name VMs by their VMIDs"),
        (["100", "--all"], 2, "name VMs by their VMIDs"),
        (["200"], 3, "is on node pve2"),
        (["nothing"], 2, "there is no PCI mapping 'nothing'"),
        (["12"], 2, "'12' is not a VMID"),
    ],
)
def test_wrong_use(tree: Path, arguments: list[str], status: int, words: str) -> None:
    assert words in pvehooks(tree, "follow", *arguments, status=status)


def remembered_files(tree: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in (tree / "var/lib/pvehooks/devices").iterdir()}


def test_dry_run_remembers_and_forgets_nothing(tree: Path) -> None:
    before = remembered_files(tree)
    assert set(before) == {"vm-100.json", "mapping-disk.json", "mapping-nic.json", "network.json"}
    (tree / CONFIGS / "100.conf").write_text("name: gpu\n")
    (tree / "etc/pve/mapping/pci.cfg").unlink()
    rebooted(tree)
    pvehooks(tree, "follow", "--all", "--dry-run")
    assert remembered_files(tree) == before
    pvehooks(tree, "follow", "--all", "--note")
    assert set(remembered_files(tree)) == {"network.json"}


def test_broken_settings_do_not_keep_it_from_remembering(tree: Path) -> None:
    (tree / "etc/pvehooks").mkdir(exist_ok=True)
    (tree / "etc/pvehooks/pvehooks.conf").write_text("[guard]\nmode = strict\n")
    (tree / CONFIGS / "103.conf").write_text("hostpci0: 02:00.0\n")
    assert "the built-in settings are used" in pvehooks(tree, "follow", "103", "--note")
    assert "vm-103.json" in remembered_files(tree)
    pvehooks(tree, "follow", "103", status=2)


@pytest.mark.parametrize("content", [b"", b"[]", b'{"devices": 1}', b'{"devices": {"a": {"b": {"id": 1}}}}', b"[" * 5000, b"\xff"])
def test_file_that_someone_damaged_counts_as_none(content: bytes, tree: Path) -> None:
    (tree / "var/lib/pvehooks/devices/vm-100.json").write_bytes(content)
    assert pvehooks(tree, "follow", "100") == "VM 100 (gpu): its devices are where it names them\n"


@pytest.mark.parametrize("line", ["lock: backup\n", "onbot: 1\n"])
def test_config_that_must_not_be_written(line: str, tree: Path) -> None:
    path = tree / CONFIGS / "100.conf"
    path.write_text(config(tree) + line)
    rebooted(tree)
    before = config(tree)
    assert "nothing was changed: " in pvehooks(tree, "follow", "100", status=1)
    assert config(tree) == before


def test_another_vm_of_the_same_number(tree: Path) -> None:
    """What a VM meant that is gone is not what its successor means."""
    path = tree / CONFIGS / "100.conf"
    path.write_text("hostpci1: host=0000:01:00.0\nsmbios1: uuid=11111111-2222-3333-4444-555555555555\n")
    rebooted(tree)
    assert "its devices are where it names them" in pvehooks(tree, "follow", "100")
