"""Who else has PCI devices: running guests, by their live process, PVE's reservations and their configs; and those of the boot."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from pvehooks.facts import hardware
from pvehooks.facts.guests import running
from pvehooks.facts.pci import holders
from pvehooks.facts.pci.hostpci import Mappings
from pvehooks.formats import guestconfig
from pvehooks.host import Host
from pvehooks.values import Holder, PciDevice, Unread
from tests.beds.pci import plant
from tests.beds.tree import Content, Link, make_fake_tree

DEVICES = """\
0000:00:02.0 class=030000 mdev=i915-GVTg_V5_4:1
0000:01:00.0 class=030000
0000:01:00.1 class=040300
0000:02:00.0 class=010802
0000:03:00.0 class=020000
0001:01:00.0 class=020000
"""
UUID = "00000000-0000-0000-0000-000000000101"
MAPPINGS = """\
pair
\tmap node=pve1,path=0000:01:00,id=10de:2204
\tmap node=pve1,path=0000:02:00.0,id=10de:2204

"""
MDEV = {f"sys/bus/mdev/devices/{UUID}": Link(f"../../../devices/pci0000:00/0000:00:02.0/{UUID}")}
RESERVED = "run/qemu-server/pci-id-reservations"


def config_of(vmid: int, node: str = "pve1") -> str:
    return f"etc/pve/nodes/{node}/qemu-server/{vmid}.conf"


def process(vmid: int, *devices: str, pid: int = 0) -> dict[str, Content]:
    """The pid file and the process of a VM with these vfio devices; its pid is 1000 + VMID."""
    pid = pid or 1000 + vmid
    words = ["/usr/bin/kvm", "-id", str(vmid), "-name", f"vm{vmid},debug-threads=on", "-device", "vhost-vsock-pci,id=vsock"]
    for device in devices:
        words += ["-device", device]
    return {f"run/qemu-server/{vmid}.pid": f"{pid}\n", f"proc/{pid}/cmdline": "\0".join(words) + "\0"}


def tree(path: Path, *files: dict[str, Content]) -> Host:
    planted: dict[str, Content] = {**plant(DEVICES), "etc/pve/mapping/pci.cfg": MAPPINGS, "etc/pve/nodes/pve1/qemu-server": None}
    for each in files:
        planted.update(each)
    return Host(str(make_fake_tree(path, planted)))


def held(host: Host) -> dict[str, tuple[Holder, ...]]:
    found = hardware.gather(host, "pve1").holders
    assert not isinstance(found, Unread), found
    return dict(found)


def boot(host: Host) -> dict[str, tuple[Holder, ...]]:
    found = hardware.gather(host, "pve1").onboot
    assert not isinstance(found, Unread), found
    return dict(found)


# -- the live process -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "device, address, holder",
    [
        pytest.param(
            "vfio-pci,host=0000:01:00.0,id=hostpci0.0,bus=ich9-pcie-port-1,addr=0x0.0,multifunction=on",
            "0000:01:00.0",
            Holder(101, "VM 101 (web)", "hostpci0"),
            id="as PVE writes it",
        ),
        pytest.param("vfio-pci,host=01:00.0,id=hostpci11", "0000:01:00.0", Holder(101, "VM 101 (web)", "hostpci11"), id="no domain"),
        pytest.param("vfio-pci,id=mine,host=0001:1:0.0", "0001:01:00.0", Holder(101, "VM 101 (web)", "args"), id="by args"),
        pytest.param("vfio-pci,host=10000:E1:00.0", "10000:e1:00.0", Holder(101, "VM 101 (web)", "args"), id="upper case"),
        pytest.param(
            f"vfio-pci,sysfsdev=/sys/bus/mdev/devices/{UUID},id=hostpci1,bus=pci.0,addr=0x11",
            "0000:00:02.0",
            Holder(101, "VM 101 (web)", "hostpci1", True),
            id="mdev",
        ),
        pytest.param(
            f"vfio-pci,sysfsdev=/sys/devices/pci0000:00/0000:00:02.0/{UUID}",
            "0000:00:02.0",
            Holder(101, "VM 101 (web)", "args", True),
            id="mdev by its own directory",
        ),
        pytest.param(
            "vfio-pci,sysfsdev=/sys/bus/pci/devices/0000:03:00.0,id=x", "0000:03:00.0", Holder(101, "VM 101 (web)", "args"), id="sysfsdev"
        ),
        pytest.param(
            '{"driver":"vfio-pci","host":"0000:03:00.0","id":"hostpci2"}',
            "0000:03:00.0",
            Holder(101, "VM 101 (web)", "hostpci2"),
            id="JSON",
        ),
    ],
)
def test_what_a_process_was_started_with(tmp_path: Path, device: str, address: str, holder: Holder) -> None:
    host = tree(tmp_path, process(101, device), {config_of(101): "name: web\n"}, MDEV)
    assert held(host) == {address: (holder,)}


@pytest.mark.parametrize(
    "device",
    [
        "e1000,host=0000:01:00.0",
        "vfio-pci,host=nonsense,id=hostpci0",
        "vfio-pci",
        '{"driver":"vfio-pci"',
        '["vfio-pci"]',
        '{"driver":"vfio-pci","host":1}',
        "vfio-pci,sysfsdev=/sys/bus/mdev/devices/nowhere",
        "vfio-pci,sysfsdev=",
        "vfio-pci,sysfsdev=/",
    ],
)
def test_what_names_no_device(tmp_path: Path, device: str) -> None:
    assert held(tree(tmp_path, process(101, device), {config_of(101): "name: web\n"})) == {}


def test_a_pid_that_belongs_to_another_process_is_no_guest(tmp_path: Path) -> None:
    files = process(101, "vfio-pci,host=0000:01:00.0")
    files["run/qemu-server/102.pid"] = files.pop("run/qemu-server/101.pid")
    files |= {"run/qemu-server/103.pid": "999999\n", "run/qemu-server/104.pid": "\n", "run/qemu-server/x.pid": "1\n"}
    assert held(tree(tmp_path, files, {config_of(102): "hostpci0: 02:00.0\n", config_of(103): "hostpci0: 02:00.0\n"})) == {}


def test_a_guest_that_is_just_coming_here(tmp_path: Path) -> None:
    """Its config lies below the node that it comes from."""
    host = tree(tmp_path, process(101, "vfio-pci,host=0000:01:00.0,id=hostpci0"), {config_of(101, "pve2"): "name: web\n"})
    assert held(host) == {"0000:01:00.0": (Holder(101, "VM 101 (web)", "hostpci0"),)}


# -- reservations -----------------------------------------------------------------------------------------------------


def test_reservations(tmp_path: Path) -> None:
    soon, over = int(time.time()) + 600, int(time.time()) - 5
    lines = [
        "0000:01:00.0 101 pid:1101",
        "0000:01:00.1 101 pid:77",
        f"02:00.0 102 time:{soon}",
        f"0000:03:00.0 103 time:{over}",
        "0001:01:00.0 104 pid:1104",
        "nonsense",
        f"0000:00:02.0 105 time:{soon} and more",
    ]
    files: dict[str, Content] = {RESERVED: "\n".join(lines) + "\n", config_of(101): "name: web\n", config_of(102): "name: db\n"}
    assert held(tree(tmp_path, process(101), files)) == {
        "0000:01:00.0": (Holder(101, "VM 101 (web)", "reserved"),),
        "0000:02:00.0": (Holder(102, "VM 102 (db)", "starting"),),
    }


def test_of_several_reservations_the_last_counts(tmp_path: Path) -> None:
    lines = "0000:01:00.0 101 pid:1101\n0000:01:00.0 101 pid:5\n"
    assert held(tree(tmp_path, process(101), {RESERVED: lines})) == {}


def test_the_process_has_more_than_the_reservation(tmp_path: Path) -> None:
    host = tree(tmp_path, process(101, "vfio-pci,host=0000:01:00.0,id=hostpci0"), {RESERVED: "0000:01:00.0 101 pid:1101\n"})
    assert held(host) == {"0000:01:00.0": (Holder(101, "VM 101", "hostpci0"),)}


def test_reservations_that_cannot_be_read(tmp_path: Path) -> None:
    found = hardware.gather(tree(tmp_path, {RESERVED: None}), "pve1").holders
    assert found == Unread("/run/qemu-server/pci-id-reservations: Is a directory")


# -- live configs -----------------------------------------------------------------------------------------------------


def test_an_entry_that_shows_nowhere_counts_with_all_alternatives(tmp_path: Path) -> None:
    host = tree(tmp_path, process(101), {config_of(101): "hostpci0: mapping=pair\nhostpci1: 03:00.0\n"})
    by = {address: (Holder(101, "VM 101", "hostpci0"),) for address in ("0000:01:00.0", "0000:01:00.1", "0000:02:00.0")}
    assert held(host) == {**by, "0000:03:00.0": (Holder(101, "VM 101", "hostpci1"),)}


def test_an_entry_that_shows_counts_as_it_shows(tmp_path: Path) -> None:
    host = tree(
        tmp_path,
        process(101, "vfio-pci,host=0000:02:00.0,id=hostpci0"),
        {config_of(101): "hostpci0: mapping=pair\nhostpci1: 00:02.0,mdev=i915-GVTg_V5_4\n"},
    )
    assert held(host) == {
        "0000:02:00.0": (Holder(101, "VM 101", "hostpci0"),),
        "0000:00:02.0": (Holder(101, "VM 101", "hostpci1", True),),
    }


def test_pending_changes_and_snapshots_hold_nothing(tmp_path: Path) -> None:
    text = "hostpci0: 01:00.0\n\n[PENDING]\nhostpci0: 02:00.0\nhostpci1: 03:00.0\n\n[before]\nhostpci2: 0001:01:00.0\n"
    assert list(held(tree(tmp_path, process(101), {config_of(101): text}))) == ["0000:01:00.0"]


def test_a_template_that_is_backed_up_runs_without_its_devices(tmp_path: Path) -> None:
    assert held(tree(tmp_path, process(101), {config_of(101): "template: 1\nhostpci0: 01:00.0\n"})) == {}


def test_one_broken_config_spoils_nothing(tmp_path: Path) -> None:
    broken: dict[str, Content] = {config_of(101): b"\xff\0hostpci0: \xfe\nhostpci1: mapping=none\nhostpci2: 09:00\n", config_of(102): None}
    host = tree(
        tmp_path, process(101, "vfio-pci,host=0000:01:00.0"), process(102), process(103), broken, {config_of(103): "hostpci0: 02:00\n"}
    )
    assert list(held(host)) == ["0000:01:00.0", "0000:02:00.0"]


def test_two_guests_with_parts_of_one_device(tmp_path: Path) -> None:
    other = UUID.replace("101", "102")
    link = {f"sys/bus/mdev/devices/{other}": Link(f"../../../devices/pci0000:00/0000:00:02.0/{other}")}
    both = (process(vmid, f"vfio-pci,sysfsdev=/sys/bus/mdev/devices/{uuid},id=hostpci0") for vmid, uuid in ((101, UUID), (102, other)))
    assert held(tree(tmp_path, *both, MDEV, link)) == {
        "0000:00:02.0": (Holder(101, "VM 101", "hostpci0", True), Holder(102, "VM 102", "hostpci0", True))
    }


def test_a_vgpu_of_nvidias_newer_driver_is_a_whole_function(tmp_path: Path) -> None:
    files: dict[str, Content] = {config_of(101): "hostpci0: 03:00.0,mdev=nvidia-35\nhostpci1: 02:00.0,mdev=nvidia-35\n"}
    files["sys/devices/pci0000:00/0000:03:00.0/nvidia/creatable_vgpu_types"] = "ID : vGPU Name\n35 : X\n"
    found = held(tree(tmp_path, process(101), files))
    assert {address: holder.mdev for address, (holder,) in found.items()} == {"0000:03:00.0": False, "0000:02:00.0": True}


def test_only_running_guests_with_hostpci_are_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files: dict[str, Content] = {config_of(vmid): "name: a\n" for vmid in range(101, 120)}
    files |= {config_of(120): "hostpci0: 01:00.0\n", config_of(121): "hostpci0: 02:00.0\n"}
    host = tree(tmp_path, files, *(process(vmid) for vmid in range(101, 121)))
    parsed: list[bytes] = []
    parse = guestconfig.parse
    monkeypatch.setattr(guestconfig, "parse", lambda raw, *more: parsed.append(raw) or parse(raw, *more))
    assert list(held(host)) == ["0000:01:00.0"]
    assert parsed == [b"hostpci0: 01:00.0\n"]


def test_nothing_runs(tmp_path: Path) -> None:
    assert held(tree(tmp_path)) == {}


@pytest.mark.parametrize("missing", ["run/qemu-server", "sys/bus/pci/devices"])
def test_what_cannot_be_listed_is_unread(tmp_path: Path, missing: str) -> None:
    host = tree(tmp_path)
    target = tmp_path / missing
    if target.exists():
        target.rename(tmp_path / "away")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("")
    found = hardware.gather(host, "pve1").holders
    assert found == Unread(f"/{missing}: Not a directory")


def test_running_guests(tmp_path: Path) -> None:
    host = tree(tmp_path, process(101, "usb-host,hostbus=1,hostport=2"), process(20), {config_of(101): "name: web\nusb0: host=1-2\n"})
    there = running.RunningGuests(host, "pve1")
    found = there.all()
    assert not isinstance(found, Unread)
    assert found is there.all()
    assert [(guest.vmid, guest.pid, guest.label) for guest in found] == [(20, 1020, "VM 20"), (101, 1101, "VM 101 (web)")]
    assert found[1].cmdline[:3] == ("/usr/bin/kvm", "-id", "101") and "usb-host,hostbus=1,hostport=2" in found[1].cmdline
    assert found[1].options() == {"name": "web", "usb0": "host=1-2"}
    assert found[1].mentions(b"usb0") and not found[1].mentions(b"hostpci")
    assert isinstance(found[0].raw, Unread) and re.search("VM 20.*No such file", found[0].raw.why)
    assert found[0].options() == {} and not found[0].mentions(b"")


# -- at boot ----------------------------------------------------------------------------------------------------------


def test_onboot(tmp_path: Path) -> None:
    configs: dict[str, Content] = {
        config_of(101): "name: web\nonboot: 1\nhostpci0: 01:00\nhostpci1: mapping=pair\n",
        config_of(102): "onboot: 1\nhostpci0: 0000:01:00.1\nhostpci1: 00:02.0,mdev=i915-GVTg_V5_4\n",
        config_of(103): "onboot: 0\nhostpci0: 02:00.0\n",
        config_of(104): "hostpci0: 02:00.0\n",
        config_of(105): "onboot: 1\ntemplate: 1\nhostpci0: 02:00.0\n",
        config_of(106): "onboot: 1\nhostpci0: 02:00.0\n\n[PENDING]\nhostpci0: 03:00.0\n",
        config_of(107): "onboot: 1\nhostpci0: 02:00.0\n\n[PENDING]\ndelete: onboot\n",
        config_of(108): None,
        config_of(109): "onboot: 1\nhostpci0: 09:00.0\nhostpci1: mapping=none\n",
        config_of(111): "onboot: 1\nhostpci0: mapping=pair\n",
        config_of(110, "pve2"): "onboot: 1\nhostpci0: 02:00.0\n",
    }
    assert boot(tree(tmp_path, configs)) == {
        "0000:01:00.0": (Holder(101, "VM 101 (web)", "hostpci0"),),
        "0000:01:00.1": (Holder(101, "VM 101 (web)", "hostpci0"), Holder(102, "VM 102", "hostpci0")),
        "0000:00:02.0": (Holder(102, "VM 102", "hostpci1", True),),
        "0000:03:00.0": (Holder(106, "VM 106", "hostpci0"),),
    }


def test_onboot_where_the_guests_cannot_be_listed(tmp_path: Path) -> None:
    host = tree(tmp_path)
    bus: dict[str, PciDevice] = {}
    assert holders.onboot(host, "pve9", bus, Mappings(host, "pve9")) == Unread("/etc/pve/nodes/pve9/qemu-server: No such file or directory")
    assert holders.onboot(host, "pve1", Unread("away"), Mappings(host, "pve1")) == Unread("away")
