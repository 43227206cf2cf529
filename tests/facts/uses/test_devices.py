"""Device nodes, watchdogs, containers, USB and remarks: each use planted, and beside it what looks alike and must not count."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pvehooks.facts.guests.running import RunningGuests
from pvehooks.facts.pci import devices as pci
from pvehooks.facts.uses.containers import Containers
from pvehooks.facts.uses.devicenodes import DeviceNodes
from pvehooks.facts.uses.processes import OpenFiles
from pvehooks.facts.uses.remarks import Remarks
from pvehooks.facts.uses.usb import UsbUses
from pvehooks.host import Host
from pvehooks.values import HostUses, PciDevice, Unread, Uses
from tests.beds.namespace import mount
from tests.beds.process import kill_on_failure
from tests.beds.tree import Content, Link, make_fake_tree
from tests.facts import captures

BUS = "/sys/bus/pci/devices"
GPU = "0000:01:00.0"
NODE = "pve1"


def card(driver: str = "amdgpu", address: str = GPU, class_code: str = "0x030000", **files: Content) -> dict[str, Content]:
    """A PCI device with a driver; `files` lie below its directory in sysfs."""
    place = f"{BUS}/{address}"
    return {
        f"{place}/class": f"{class_code}\n",
        f"{place}/driver": Link(f"../../../bus/pci/drivers/{driver}"),
        **{f"{place}/{path}": content for path, content in files.items()},
    }


def render(
    number: str = "226:128\n", uevent: str = "MAJOR=226\nMINOR=128\nDEVNAME=dri/renderD128\nDEVTYPE=drm_minor\n"
) -> dict[str, Content]:
    return card(**{"drm/renderD128/dev": number, "drm/renderD128/uevent": uevent})


def opened(path: str, comm: str = "ffmpeg", pid: int = 4242) -> dict[str, Content]:
    """A process that has a file open."""
    return {f"/proc/{pid}/fd/7": Link(path), f"/proc/{pid}/fd/0": Link("/dev/null"), f"/proc/{pid}/comm": f"{comm}\n"}


def container(text: str, vmid: int = 105, running: int = 105) -> dict[str, Content]:
    return {
        f"/etc/pve/nodes/{NODE}/lxc/{vmid}.conf": f"hostname: jellyfin\n{text}\n",
        f"/sys/fs/cgroup/lxc/{running}/cgroup.events": "populated 1\nfrozen 0\n",
    }


def container_by_socket(text: str, vmid: int = 105, running: int = 105) -> dict[str, Content]:
    """The same as captures of earlier versions have it."""
    return {
        f"/etc/pve/nodes/{NODE}/lxc/{vmid}.conf": f"hostname: jellyfin\n{text}\n",
        "/proc/net/unix": f"Num RefCount\n0000: 00000002 00000000 00010000 0001 01 4711 @/var/lib/lxc/{running}/command\n",
    }


def kvm(vmid: int = 101, words: str = "", config: str = "name: web\n", pid: int = 4711) -> dict[str, Content]:
    return {
        f"/run/qemu-server/{vmid}.pid": f"{pid}\n",
        f"/proc/{pid}/cmdline": f"/usr/bin/kvm\0-id\x00{vmid}\0{words}",
        f"/etc/pve/nodes/{NODE}/qemu-server/{vmid}.conf": config,
    }


def device(host: Host, address: str) -> PciDevice:
    found = pci.devices(host)
    assert not isinstance(found, Unread)
    return found[address]


def tree(directory: Path, files: dict[str, Content]) -> Host:
    return Host(str(make_fake_tree(directory, {"/proc": None, **files})))


def device_nodes(host: Host) -> DeviceNodes:
    return DeviceNodes(host, RunningGuests(host, NODE), Containers(host, NODE), OpenFiles(host))


def found_uses(reader: HostUses, host: Host, address: str = GPU) -> list[tuple[str, int]]:
    uses = reader.of(device(host, address))
    assert uses.unread == ()
    return [(use.sentence, use.vmid) for use in uses.found]


# -- open by a process ------------------------------------------------------------------------------------------------

FFMPEG = "is in use through /dev/dri/renderD128 by ffmpeg (pid 4242)"
SOUND = {"sound/card1/controlC1/dev": "116:7\n", "sound/card1/controlC1/uevent": "DEVNAME=snd/controlC1\n"}
NVIDIA = {f"/proc/driver/nvidia/gpus/{GPU}/information": "Model: \t NVIDIA T4\nDevice Minor: \t 3\nGPU Excluded:\t No\n"}


@pytest.mark.parametrize(
    ("files", "sentences"),
    [
        pytest.param({**render(), **opened("/dev/dri/renderD128")}, [FFMPEG], id="GPU"),
        pytest.param({**render("", ""), **opened("/dev/dri/renderD128")}, [FFMPEG], id="GPU, only its name known"),
        pytest.param({**render(), **opened("/dev/dri/renderD128 (deleted)")}, [FFMPEG], id="GPU, the node is gone"),
        pytest.param({**render(), **opened("/dev/dri/renderD129")}, [], id="another GPU"),
        pytest.param({**render(), **opened("/dev/dri/renderD128", "(udev-worker)")}, [], id="udev"),
        pytest.param({**render(), **opened("/srv/dev/dri/renderD128")}, [], id="a file of that name"),
        pytest.param({**render(), **opened("/dev/kfd")}, [], id="what all GPUs share"),
        pytest.param({**card("vfio-pci", **{"drm/renderD128/dev": "226:128\n"}), **opened("/dev/dri/renderD128")}, [], id="on vfio"),
        pytest.param(
            {**card("nvidia"), **NVIDIA, **opened("/dev/nvidia3", "ollama")},
            ["is in use through /dev/nvidia3 by ollama (pid 4242)"],
            id="nvidia",
        ),
        pytest.param({**card("nvidia"), **NVIDIA, **opened("/dev/nvidiactl"), **opened("/dev/nvidia0", pid=7)}, [], id="another nvidia"),
        pytest.param(
            {**card(**SOUND), **opened("/dev/snd/controlC1", "mpd")}, ["is in use through /dev/snd/controlC1 by mpd (pid 4242)"], id="sound"
        ),
        pytest.param(
            {**card(**{"accel/accel0/dev": "261:0\n"}), **opened("/dev/accel/accel0")},
            ["is in use through /dev/accel/accel0 by ffmpeg (pid 4242)"],
            id="accelerator",
        ),
        pytest.param(
            {**card(**{"infiniband_verbs/uverbs0/dev": "231:192\n"}), **opened("/dev/infiniband/uverbs0", "opensm")},
            ["is in use through /dev/infiniband/uverbs0 by opensm (pid 4242)"],
            id="RDMA",
        ),
        pytest.param(
            {**card(**{"usb1/1-2/1-2:1.0/ttyUSB0/tty/ttyUSB0/dev": "188:0\n"}), **opened("/dev/ttyUSB0", "zigbee")},
            ["is in use through /dev/ttyUSB0 by zigbee (pid 4242)"],
            id="serial adapter at a USB controller",
        ),
        pytest.param(
            {**card(**{"0000:01:00.0:0/0000:01:00.0:0.0/tty/ttyS4/dev": "4:68\n"}), **opened("/dev/ttyS4", "apcupsd")},
            ["is in use through /dev/ttyS4 by apcupsd (pid 4242)"],
            id="serial port, as kernels since 6.5 show it",
        ),
        pytest.param(
            {**card(**{"usb1/1-2/1-2:1.0/0003:051D:0002.0001/hidraw/hidraw0/dev": "238:0\n"}), **opened("/dev/hidraw0", "usbhid-ups")},
            ["is in use through /dev/hidraw0 by usbhid-ups (pid 4242)"],
            id="UPS at a USB controller",
        ),
        pytest.param(
            {**card(**{"host7/port-7:0/target7:0:0/7:0:0:0/scsi_tape/nst0/dev": "9:128\n"}), **opened("/dev/nst0", "mtx")},
            ["is in use through /dev/nst0 by mtx (pid 4242)"],
            id="tape",
        ),
        pytest.param(
            {**card(**{"usb1/1-2/1-2:1.0/input/input5/event5/dev": "13:69\n"}), **opened("/dev/event5")}, [], id="logind has keyboards open"
        ),
        pytest.param({**card(**{"ata1/host0/block/sda/dev": "8:0\n"}), **opened("/dev/sda")}, [], id="disks are looked at elsewhere"),
        pytest.param({**card(**{"0000:02:00.0/drm/card0/dev": "226:0\n"}), **opened("/dev/dri/card0")}, [], id="a device behind it"),
    ],
)
def test_open_by_a_process(tmp_path: Path, files: dict[str, Content], sentences: list[str]) -> None:
    host = tree(tmp_path, files)
    assert found_uses(device_nodes(host), host) == [(sentence, 0) for sentence in sentences]


def test_open_by_a_guest(tmp_path: Path) -> None:
    """A display with the node's GPU (virtio-gl)."""
    host = tree(tmp_path, {**render(), **kvm(), **opened("/dev/dri/renderD128", "kvm", 4711)})
    assert found_uses(device_nodes(host), host) == [("is in use by the running VM 101 (web) through /dev/dri/renderD128", 101)]


def test_open_by_many(tmp_path: Path) -> None:
    files = dict(render())
    for pid in range(10, 15):
        files.update(opened("/dev/dri/renderD128", pid=pid))
    host = tree(tmp_path, files)
    ((sentence, _),) = found_uses(device_nodes(host), host)
    assert sentence == "is in use through /dev/dri/renderD128 by ffmpeg (pid 10), ffmpeg (pid 11), ffmpeg (pid 12) and 2 more"


@pytest.mark.parametrize(
    ("files", "sentences"),
    [
        pytest.param({"state": "active\n"}, ["is the hardware watchdog in use (/dev/watchdog0)"], id="counts down"),
        pytest.param({"state": "inactive\n"}, [], id="idle"),
        pytest.param(
            {"state": "inactive\n", "/dev/watchdog": "watchdog-mux"},
            ["is the hardware watchdog in use by watchdog-mux (pid 4242) (/dev/watchdog0)"],
            id="open",
        ),
        pytest.param({"/dev/watchdog1": "watchdog-mux"}, [], id="another one is open"),
    ],
)
@pytest.mark.parametrize("place", ["watchdog/watchdog0", "iTCO_wdt/watchdog/watchdog0"])
def test_watchdog(tmp_path: Path, place: str, files: dict[str, str], sentences: list[str]) -> None:
    planted = card("i801_smbus", class_code="0x0c0500", **{f"{place}/dev": "248:0\n"})
    for name, content in files.items():
        planted.update(opened(name, content) if name.startswith("/dev") else {f"{BUS}/{GPU}/{place}/{name}": content})
    host = tree(tmp_path, planted)
    assert found_uses(device_nodes(host), host) == [(sentence, 0) for sentence in sentences]


# -- the real thing ---------------------------------------------------------------------------------------------------


@pytest.fixture
def folder() -> Iterator[Path]:
    """A directory below /dev for device nodes, which only the tests' mount namespace sees."""
    place = Path("/dev/shm/pvehooks-nodes")
    place.mkdir(exist_ok=True)
    mount("tmpfs", str(place), "tmpfs")
    yield place
    subprocess.run(["umount", str(place)], check=True)
    place.rmdir()


@pytest.fixture
def holder(folder: Path) -> Iterator[int]:
    """A process that has the node `theirs` open."""
    for name in ("ours", "theirs"):
        os.mknod(folder / name, 0o600 | 0o020000, os.makedev(1, 5))
    with (folder / "theirs").open("rb") as node, kill_on_failure(subprocess.Popen(["sleep", "600"], stdin=node)) as process:
        yield process.pid
        process.kill()


def test_open_files_of_this_machine(folder: Path, holder: int) -> None:
    """By number: a container may have it under another name. This very process has it open too, and does not count."""
    files = OpenFiles(Host())
    assert files.of(str(folder / "ours")) == (f"sleep (pid {holder})",)
    assert files.of(str(folder / "none")) == ()
    assert files.unread == ""


def test_a_passing_look_is_no_use(folder: Path) -> None:
    """Scans of a disk (zpool import, sgdisk) hold it for a moment; what is looked at again is gone by then."""
    os.mknod(folder / "scanned", 0o600 | 0o020000, os.makedev(1, 5))
    with (folder / "scanned").open("rb") as node, kill_on_failure(subprocess.Popen(["sleep", "0.4"], stdin=node)) as process:
        assert str(process.pid) in OpenFiles(Host())._look().get((1, 5), [])
        assert OpenFiles(Host()).of(str(folder / "scanned")) == ()


def test_open_files_without_root(folder: Path, holder: int) -> None:
    files = OpenFiles(Host())
    os.seteuid(65534)
    try:
        assert files.of(str(folder / "ours")) == ()
    finally:
        os.seteuid(0)
    assert files.unread.startswith("which processes have its device nodes open")


def test_unread_without_root(tmp_path: Path) -> None:
    """What was found counts all the same; a device without nodes does not care."""
    host = tree(tmp_path, {**render(), **container("dev0: /dev/dri/renderD128"), **card("igb", "0000:02:00.0")})
    reader = device_nodes(host)
    reader.files.unread = "which processes have it open"
    uses = reader.of(device(host, GPU))
    assert [use.vmid for use in uses.found] == [105]
    assert uses.unread == ("which processes have it open",)
    assert reader.of(device(host, "0000:02:00.0")) == Uses()


# -- given to a container ---------------------------------------------------------------------------------------------

GIVEN = [("is given to the running CT 105 (jellyfin) through /dev/dri/renderD128", 105)]


@pytest.mark.parametrize(
    ("text", "given"),
    [
        pytest.param("dev0: /dev/dri/renderD128,gid=104", True, id="dev"),
        pytest.param("dev11: gid=104,path=/dev/dri/renderD128", True, id="dev with its key"),
        pytest.param("dev0: /dev/dri/by-path/pci-0000:01:00.0-render", True, id="dev by path"),
        pytest.param("lxc.mount.entry: /dev/dri/renderD128 dev/dri/renderD128 none bind,optional,create=file", True, id="mount"),
        pytest.param("lxc.mount.entry = /dev/dri dev/dri none bind,optional,create=dir", True, id="directory, nothing said of numbers"),
        pytest.param(
            "lxc.cgroup2.devices.allow: c 226:* rwm\nlxc.mount.entry: /dev/dri dev/dri none bind", True, id="directory, all allowed"
        ),
        pytest.param("lxc.cgroup2.devices.allow: a\nlxc.mount.entry: /dev/dri dev/dri none bind", True, id="directory, anything allowed"),
        pytest.param(
            "lxc.cgroup2.devices.allow: c 226:129 rwm\nlxc.mount.entry: /dev/dri dev/dri none bind", False, id="directory, another allowed"
        ),
        pytest.param("lxc.cgroup2.devices.allow: c 226:128 rwm", True, id="number"),
        pytest.param("lxc.cgroup.devices.allow: c 226:128 rwm", True, id="number, cgroup v1"),
        pytest.param("lxc.cgroup2.devices.allow: c 226:* rwm", False, id="any number, and no node"),
        pytest.param("lxc.cgroup2.devices.allow: c 226:129 rwm", False, id="another number"),
        pytest.param("dev0: /dev/dri/renderD129", False, id="another node"),
        pytest.param("lxc.mount.entry: /dev/dr dev/dr none bind", False, id="another directory"),
        pytest.param("#dev0: /dev/dri/renderD128", False, id="comment"),
        pytest.param("[before]\ndev0: /dev/dri/renderD128", False, id="snapshot"),
        pytest.param("dev0:\nlxc.mount.entry:\ndev: /dev/dri/renderD128\nlxc.cgroup2.devices.allow: c x:y", False, id="nonsense"),
    ],
)
def test_given_to_a_container(tmp_path: Path, text: str, given: bool) -> None:
    host = tree(tmp_path, {**render(), **container(text), "/dev/dri/by-path/pci-0000:01:00.0-render": Link("../renderD128")})
    assert found_uses(device_nodes(host), host) == (GIVEN if given else [])


def test_a_container_by_its_socket(tmp_path: Path) -> None:
    host = tree(tmp_path, {**render(), **container_by_socket("dev0: /dev/dri/renderD128")})
    assert found_uses(device_nodes(host), host) == GIVEN


def test_containers_that_do_not_run(tmp_path: Path) -> None:
    host = tree(tmp_path, {**render(), **container("dev0: /dev/dri/renderD128", running=1055)})
    assert found_uses(device_nodes(host), host) == []


@pytest.mark.parametrize(
    ("cgroup", "runs"),
    [
        ("lxc/105", True),
        ("lxc/105-1", True),
        ("systemd/lxc/105", True),
        ("unified/lxc/105", True),
        ("lxc/1055", False),
        ("lxc.monitor/105", False),
        ("user.slice/lxc/105", False),
        ("lxc/200/ns/lxc/105", False),
    ],
)
def test_where_a_running_container_has_its_cgroup(cgroup: str, runs: bool, tmp_path: Path) -> None:
    """Only directories that root makes count: users and containers have cgroups of their own further down."""
    files = {**container("dev0: /dev/dri/renderD128", running=999), f"/sys/fs/cgroup/{cgroup}/cgroup.procs": ""}
    host = tree(tmp_path, {**render(), **files})
    assert found_uses(device_nodes(host), host) == (GIVEN if runs else [])


def test_an_empty_cgroup_is_left_over(tmp_path: Path) -> None:
    files = {**container("dev0: /dev/dri/renderD128"), "/sys/fs/cgroup/lxc/105/cgroup.events": "populated 0\nfrozen 0\n"}
    host = tree(tmp_path, {**render(), **files})
    assert found_uses(device_nodes(host), host) == []


def test_a_socket_of_another_user_makes_no_container_run(tmp_path: Path) -> None:
    """Any user can bind the abstract socket @/var/lib/lxc/105/command; that must refuse no start."""
    files = {**container("dev0: /dev/dri/renderD128", running=200), **container_by_socket("dev0: /dev/dri/renderD128")}
    host = tree(tmp_path, {**render(), **files})
    assert found_uses(device_nodes(host), host) == []


@pytest.mark.parametrize(
    "text", ["dev1: /dev/a\0b", "mp0: /dev/\0", "lxc.mount.entry: /dev/\0 x", f"lxc.cgroup2.devices.allow: c {'9' * 5000}:1 rwm"]
)
def test_garbage_in_one_containers_config_harms_no_other(text: str, tmp_path: Path) -> None:
    files = {**container("dev0: /dev/dri/renderD128"), f"/etc/pve/nodes/{NODE}/lxc/106.conf": f"{text}\n"}
    host = tree(tmp_path, {**render(), **files, "/sys/fs/cgroup/lxc/106/cgroup.procs": ""})
    assert found_uses(device_nodes(host), host) == GIVEN


@pytest.mark.parametrize("path", [f"/etc/pve/nodes/{NODE}/lxc", f"/etc/pve/nodes/{NODE}/lxc/105.conf", "/proc/net/unix"])
def test_containers_that_cannot_be_read(tmp_path: Path, path: str) -> None:
    build = container_by_socket if path.startswith("/proc") else container
    files = {name: content for name, content in build("dev0: /dev/dri/renderD128").items() if not name.startswith(path)}
    host = tree(tmp_path, {**render(), **files, path: "a file" if path.endswith("lxc") else None})
    (why,) = device_nodes(host).of(device(host, GPU)).unread
    assert "container" in why and "irectory" in why


# -- USB --------------------------------------------------------------------------------------------------------------

KEY = {"usb1/1-2/1-2.3/idVendor": "1050\n", "usb1/1-2/1-2.3/idProduct": "0407\n", "usb1/1-2/1-2.3/product": "YubiKey\n"}
USED = [("has YubiKey [1050:0407] at port 1-2.3, which the running VM 101 (web) was given", 101)]
MAPPING = "key\n\tdescription of one\n\tmap node=pve1,path=1-2.3,id=1050:0407\n\tmap node=pve2,id=1050:0408,path=7-7\n\n"


@pytest.mark.parametrize(
    ("words", "config", "uses"),
    [
        pytest.param("-device\0usb-host,bus=xhci.0,port=1,vendorid=0x1050,productid=0x0407,id=usb0\0", "", True, id="started with, by id"),
        pytest.param("-device\0usb-host,bus=xhci.0,port=1,hostbus=1,hostport=2.3,id=usb0\0", "", True, id="started with, by place"),
        pytest.param("", "usb0: host=1050:0407,usb3=1\n", True, id="config, by id"),
        pytest.param("", "usb3: 1-2.3\n", True, id="config, by place"),
        pytest.param("", "usb0: mapping=key\n", True, id="config, mapping"),
        pytest.param("-device\0usb-host,hostbus=1,hostport=3,id=usb0\0", "usb0: host=1-2.30\n", False, id="another port"),
        pytest.param("", "usb0: host=1050:0408\nusb1: spice\nusb2: mapping=other\nusb4: host=\n", False, id="another device"),
        pytest.param("", "agent: 1\n[snap]\nusb0: host=1050:0407\n", False, id="snapshot"),
        pytest.param("-device\0usb-tablet,id=tablet\0usb-host,\0usb-host,hostbus\0", "", False, id="no device of the node"),
    ],
)
def test_usb_devices_of_guests(tmp_path: Path, words: str, config: str, uses: bool) -> None:
    files = {
        **card("xhci_hcd", class_code="0x0c0330", **KEY),
        **kvm(words=words, config=f"name: web\n{config}"),
        "/etc/pve/mapping/usb.cfg": MAPPING,
    }
    host = tree(tmp_path, files)
    assert found_uses(UsbUses(host, RunningGuests(host, NODE)), host) == (USED if uses else [])


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({f"{BUS}/{GPU}/class": "0x030000\n"}, id="no USB controller"),
        pytest.param({f"{BUS}/{GPU}/driver": Link("../../../bus/pci/drivers/vfio-pci")}, id="on vfio"),
        pytest.param({"/run/qemu-server/101.pid": "4712\n"}, id="guest does not run"),
    ],
)
def test_usb_devices_that_are_none(tmp_path: Path, changed: dict[str, Content]) -> None:
    files = {**card("xhci_hcd", class_code="0x0c0330", **KEY), **kvm(config="name: web\nusb0: host=1050:0407\n"), **changed}
    host = tree(tmp_path, files)
    assert found_uses(UsbUses(host, RunningGuests(host, NODE)), host) == []


def test_usb_when_guests_cannot_be_seen(tmp_path: Path) -> None:
    host = tree(tmp_path, {**card("xhci_hcd", class_code="0x0c0330", **KEY), "/run/qemu-server": "a file"})
    (why,) = UsbUses(host, RunningGuests(host, NODE)).of(device(host, GPU)).unread
    assert why.startswith("which VMs have its USB devices")


# -- remarks ----------------------------------------------------------------------------------------------------------

LETTERS = "ff9f207ac14057ff febeffdfffefffff fffffffffffffffe"
POWER_BUTTON = "10000000000000 0"


def keyboard(sysfs: str, keys: str = LETTERS) -> str:
    return f'I: Bus=0003 Vendor=046d\nN: Name="a: keyboard"\nS: Sysfs={sysfs}\nH: Handlers=sysrq kbd event3 leds\nB: EV=120013\nB: KEY={keys}\n\n'


HERE = f"/devices/pci0000:00/0000:00:01.0/{GPU}/usb1/1-4/1-4:1.0/0003:046D.0001/input/input5"
THERE = "/devices/pci0000:00/0000:00:14.0/usb2/2-1/2-1:1.0/input/input6"
ONLY_KEYBOARD = ["has the node's only keyboard"]


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        pytest.param(keyboard(HERE), ONLY_KEYBOARD, id="only one"),
        pytest.param(keyboard(HERE) * 2, ONLY_KEYBOARD, id="two at one controller"),
        pytest.param(
            keyboard(HERE) + keyboard("/devices/LNXSYSTM:00/LNXPWRBN:00/input/input0", POWER_BUTTON), ONLY_KEYBOARD, id="and a power button"
        ),
        pytest.param(keyboard(HERE) + keyboard(THERE), [], id="another at another controller"),
        pytest.param(keyboard(HERE) + keyboard("/devices/platform/i8042/serio0/input/input3"), [], id="and PS/2"),
        pytest.param(keyboard(THERE), [], id="not here"),
        pytest.param(keyboard(HERE).replace("kbd", "mouse0"), [], id="no keyboard"),
        pytest.param(keyboard(HERE, "zz"), [], id="nonsense"),
        pytest.param("", [], id="none"),
    ],
)
def test_last_keyboard(tmp_path: Path, text: str, sentences: list[str]) -> None:
    host = tree(tmp_path, {**card("xhci_hcd", class_code="0x0c0330"), "/proc/bus/input/devices": text})
    uses = Remarks(host, OpenFiles(host)).of(device(host, GPU))
    assert [use.sentence for use in uses.found if use.remark] == [use.sentence for use in uses.found] == sentences


BOOTFB = {
    f"{BUS}/{GPU}/resource": "0x00000000c0000000 0x00000000cfffffff 0x0000000000140204\n",
    "/proc/iomem": "c0000000-c07fffff : BOOTFB\n",
}


@pytest.mark.parametrize(
    ("files", "sentences"),
    [
        pytest.param({**card(), **BOOTFB}, ["shows the node's console (BOOTFB)"], id="framebuffer"),
        pytest.param(card(boot_vga="1\n"), ["shows the node's console (the firmware chose it at boot)"], id="boot VGA"),
        pytest.param({**card("vfio-pci", boot_vga="1\n"), **BOOTFB}, ["shows the node's console (BOOTFB)"], id="framebuffer on vfio"),
        pytest.param(card("vfio-pci", boot_vga="1\n"), [], id="boot VGA on vfio"),
        pytest.param(card(boot_vga="0\n"), [], id="another GPU"),
        pytest.param({**card(class_code="0x010802"), **BOOTFB}, [], id="no display"),
        pytest.param(
            card("intel-spi", **{"spi_master/spi0/spi-PRP0001:00/tpm/tpm0/dev": "10:224\n"}), ["has the node's TPM (tpm0)"], id="TPM"
        ),
        pytest.param(
            {**card("intel-spi", **{"spi0/tpm/tpm0/dev": "10:224\n"}), **opened("/dev/tpmrm0", "tpm2-abrmd")}, [], id="TPM in use"
        ),
    ],
)
def test_remarks(tmp_path: Path, files: dict[str, Content], sentences: list[str]) -> None:
    host = tree(tmp_path, files)
    uses = Remarks(host, OpenFiles(host)).of(device(host, GPU))
    assert [use.sentence for use in uses.found if use.remark] == [use.sentence for use in uses.found] == sentences


# -- captures of real kernels -----------------------------------------------------------------------------------------


@pytest.mark.shared_data
@pytest.mark.parametrize("name", captures.NAMES)
def test_captures(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Nobody uses their device nodes; the one remark is on the display that the firmware chose."""
    host = Host(str(captures.materialise(name, tmp_path_factory)))
    found = pci.devices(host)
    assert not isinstance(found, Unread)
    running = RunningGuests(host, NODE)
    for address, each in found.items():
        assert device_nodes(host).of(each).found == ()
        assert UsbUses(host, running).of(each) == Uses()
        remarks = Remarks(host, OpenFiles(host)).of(each).found
        chosen = captures.load(name)["pci"][address]["attrs"].get("boot_vga") == "1\n"
        assert [use.remark for use in remarks] == ([True] if chosen and each.driver else [])
