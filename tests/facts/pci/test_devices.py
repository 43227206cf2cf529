"""PCI devices: all attributes against captures of real kernels, and against small trees for what these do not hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pvehooks.facts.pci import devices as pci
from pvehooks.host import Host
from pvehooks.values import PciDevice, Unread
from pvehooks.values.base import fact_names
from tests.beds.tree import Content, Link, make_fake_tree
from tests.facts import captures

BUS = "/sys/bus/pci/devices"
ADDRESS = "0000:01:00.0"


def device(directory: Path, files: dict[str, Content], address: str = ADDRESS, beside: dict[str, Content] | None = None) -> PciDevice:
    """A device whose directory holds these files; `beside` are other files of the tree."""
    make_fake_tree(directory, {f"{BUS}/{address}": None, **{f"{BUS}/{address}/{name}": content for name, content in files.items()}})
    make_fake_tree(directory, beside or {})
    found = pci.devices(Host(str(directory)))
    assert not isinstance(found, Unread)
    return found[address]


def attributes() -> list[str]:
    return [name for name in fact_names(PciDevice) if name not in ("slot", "label")]


# -- captures of real kernels -----------------------------------------------------------------------------------------


def last(target: str | None) -> str:
    return (target or "").rsplit("/", 1)[-1]


def captured_facts(captured: dict[str, Any], address: str) -> dict[str, Any]:
    """What a capture says of a device, taken from its JSON."""
    entry = captured["pci"][address]
    attrs, links = entry["attrs"], entry["links"]
    group = last(links.get("iommu_group"))
    serials = sorted(e["serial"].strip() for e in entry["children"].get("nvme", {}).values())
    virtfns = {int(name.removeprefix("virtfn")): last(target) for name, target in links.items() if name.startswith("virtfn")}
    return {
        "class_code": int(attrs["class"], 16),
        "vendor": int(attrs["vendor"], 16),
        "device": int(attrs["device"], 16),
        "subsystem": (int(attrs["subsystem_vendor"], 16), int(attrs["subsystem_device"], 16)),
        "driver": last(links.get("driver")),
        "override": attrs["driver_override"].strip().replace("(null)", ""),
        "vfio": any(f"/{address}/vfio-dev/" in target for target in (captured["class_vfio_dev"] or {}).values()),
        "bridge": "pci_bus" in entry["subdirs"],
        "group": group,
        "members": tuple(sorted(captured["iommu_groups"][group]["devices"])) if group else (address,),
        "reset_methods": tuple(attrs.get("reset_method", "").split()),
        "dead": False,
        "boot_vga": attrs.get("boot_vga") == "1\n",
        "physfn": last(links.get("physfn")),
        "virtfns": tuple(target for _, target in sorted(virtfns.items())),
        "numa": int(attrs["numa_node"]),
        "serial": ",".join(serials),
        "mdev_types": {},
        "mdevs": frozenset(),
        "vgpus": False,
        "vgpu_type": -1,
        "framebuffer": "",
    }


@pytest.mark.shared_data
@pytest.mark.parametrize("name", captures.NAMES)
def test_a_capture(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    captured = captures.load(name)
    found = pci.devices(Host(str(captures.materialise(name, tmp_path_factory))))
    assert not isinstance(found, Unread)
    assert sorted(found) == sorted(captured["pci"])
    read = {address: {key: getattr(found[address], key) for key in captured_facts(captured, address)} for address in found}
    assert read == {address: captured_facts(captured, address) for address in captured["pci"]}


@pytest.mark.shared_data
def test_the_captures_hold_what_they_are_for() -> None:
    """Otherwise the test above would compare nothing with nothing."""
    every = [captured_facts(captured, address) for captured in map(captures.load, captures.NAMES) for address in captured["pci"]]
    assert len(captures.NAMES) == 27
    for key in ("vfio", "bridge", "override", "physfn", "virtfns", "serial", "boot_vga", "group", "reset_methods"):
        assert {bool(each[key]) for each in every} == {True, False}, key
    assert max(len(each["members"]) for each in every) > 3


# -- no more is read than asked ---------------------------------------------------------------------------------------


class Watched(Host):
    """A host that writes down which paths it looked at."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.seen: list[str] = []

    def locate(self, path: str, follow: bool = True) -> str:
        self.seen.append(path)
        return super().locate(path, follow)


def bus_of_100(directory: Path) -> Watched:
    files: dict[str, Content] = {}
    for number in range(100):
        address = f"0000:{number:02x}:00.0"
        files |= {f"{BUS}/{address}/class": "0x030000\n", f"{BUS}/{address}/driver": Link("../../drivers/nouveau")}
        files |= {f"{BUS}/{address}/iommu_group": Link(f"/sys/kernel/iommu_groups/{number // 2}")}
        files |= {f"/sys/kernel/iommu_groups/{number // 2}/devices/{address}": None}
    make_fake_tree(directory, files)
    return Watched(str(directory))


def test_a_hundred_devices_are_one_listing(tmp_path: Path) -> None:
    host = bus_of_100(tmp_path)
    found = pci.devices(host)
    assert not isinstance(found, Unread)
    assert len(found) == 100
    assert host.seen == [BUS]


def test_only_what_is_asked_is_read_and_once(tmp_path: Path) -> None:
    host = bus_of_100(tmp_path)
    found = pci.devices(host)
    assert not isinstance(found, Unread)
    two = ("0000:06:00.0", "0000:07:00.0")
    host.seen.clear()
    for _ in range(2):
        for address in two:
            assert found[address].group == "3"
            assert found[address].members == two
            assert (found[address].driver, found[address].vfio, found[address].class_code) == ("nouveau", False, 0x030000)
    names = ("iommu_group", "iommu_group/devices", "driver", "vfio-dev", "class")
    assert sorted(host.seen) == sorted(f"{BUS}/{address}/{name}" for address in two for name in names)


def test_names_and_memory_map_are_read_once(tmp_path: Path) -> None:
    host = bus_of_100(tmp_path)
    make_fake_tree(tmp_path, {"/usr/share/misc/pci.ids": "#\n", "/proc/iomem": "0-f : BOOTFB\n"})
    found = pci.devices(host)
    assert not isinstance(found, Unread)
    assert {(each.words, each.framebuffer) for each in found.values()} == {("graphics card", "")}
    assert [path for path in host.seen if not path.startswith(BUS)] == ["/usr/share/misc/pci.ids", "/proc/iomem"]


# -- trees that no capture has ----------------------------------------------------------------------------------------


def test_without_a_bus_nothing_is_known(tmp_path: Path) -> None:
    assert pci.devices(Host(str(tmp_path))) == Unread(f"{BUS}: No such file or directory")


def test_domains_may_be_long_and_other_names_are_no_devices(tmp_path: Path) -> None:
    """Intel's VMD has domains from 10000."""
    addresses = ("0000:00:02.0", "10000:e1:00.0", "10000:e1:00.1")
    group = {f"/sys/kernel/iommu_groups/1/devices/{name}": None for name in (*addresses[1:], "i2c-ABCD:00", "arm-smmu")}
    files: dict[str, Content] = {f"{BUS}/{name}": None for name in (*addresses, "power", "1234:5")}
    make_fake_tree(tmp_path, {**files, **group, f"{BUS}/10000:e1:00.0/iommu_group": Link("/sys/kernel/iommu_groups/1")})
    found = pci.devices(Host(str(tmp_path)))
    assert not isinstance(found, Unread)
    assert tuple(found) == addresses
    assert found["10000:e1:00.0"].members == addresses[1:]
    assert found["10000:e1:00.0"].slot == "10000:e1:00"


NOTHING: dict[str, Any] = {
    "class_code": -1,
    "vendor": -1,
    "device": -1,
    "subsystem": None,
    "driver": "",
    "override": "",
    "vfio": False,
    "bridge": False,
    "port": "",
    "group": "",
    "group_unread": "",
    "members": (ADDRESS,),
    "dead": False,
    "power_state": "",
    "boot_vga": False,
    "physfn": "",
    "virtfns": (),
    "numa": -1,
    "serial": "",
    "mdev_types": {},
    "mdevs": frozenset(),
    "vgpus": False,
    "vgpu_type": -1,
    "framebuffer": "",
    "words": "PCI device",
    "total_vfs": None,
    "vf_routing": None,
    "on_root_bus": False,
    "upstream": (),
    "reserved": (),
    "iommu_bits": None,
}


def test_a_device_that_vanished(tmp_path: Path) -> None:
    gone = device(tmp_path, {})
    (tmp_path / BUS[1:] / ADDRESS).rmdir()
    assert {name: getattr(gone, name) for name in attributes()} == {**NOTHING, "reset_methods": Unread(f"{ADDRESS} is gone")}


def test_links_in_circles(tmp_path: Path) -> None:
    make_fake_tree(tmp_path, {f"{BUS}/{ADDRESS}": Link("other"), f"{BUS}/other": Link(ADDRESS)})
    found = pci.devices(Host(str(tmp_path)))
    assert not isinstance(found, Unread)
    read = {name: getattr(found[ADDRESS], name) for name in attributes()}
    methods = read.pop("reset_methods")
    assert "symbolic links" in read.pop("group_unread")
    assert {**read, "group_unread": ""} == NOTHING
    assert isinstance(methods, Unread)
    assert "symbolic links" in methods.why


def test_nonsense_in_every_file(tmp_path: Path) -> None:
    names = ("class", "vendor", "device", "subsystem_vendor", "subsystem_device", "numa_node", "boot_vga", "resource", "config")
    files: dict[str, Content] = dict.fromkeys(names, b"\xff\xfe 0x\0z\n" + b"9" * 5000)
    files |= {"driver": None, "iommu_group": "7\n", "physfn": Link("physfn"), "virtfnX": Link("../x"), "virtfn1": "no link"}
    files |= {"mdev_supported_types/x/available_instances": b"\xff"}
    found = device(tmp_path, files, beside={"/proc/iomem": b"\xff : BOOTFB\n0-zz : BOOTFB\nBOOTFB\n"})
    read = {name: getattr(found, name) for name in attributes()}
    assert read.pop("group_unread").endswith("Invalid argument")
    assert {**read, "group_unread": ""} == {**NOTHING, "physfn": "physfn", "mdev_types": {"x": 0}, "reset_methods": ()}


@pytest.mark.parametrize(
    ("config", "files", "dead"),
    [
        pytest.param(b"\xff" * 256, {}, True, id="all ones"),
        pytest.param(b"\xff" * 64, {}, True, id="all ones without root"),
        pytest.param(b"\xff" * 63 + b"\0" + b"\xff" * 192, {}, False, id="alive"),
        pytest.param(b"\xff" * 32, {}, False, id="half a header proves nothing"),
        pytest.param(b"\xff" * 4 + b"\0" * 60, {"physfn": Link("../0000:01:00.4")}, False, id="ids of a virtual function"),
        pytest.param(b"\xff" * 64, {"physfn": Link("../0000:01:00.4")}, False, id="virtual function"),
    ],
)
def test_dead(tmp_path: Path, config: bytes, files: dict[str, Content], dead: bool) -> None:
    assert device(tmp_path, {"config": config, **files}).dead is dead


@pytest.mark.parametrize(
    ("files", "vfio"),
    [
        pytest.param({"driver": Link("/x/vfio-pci")}, True, id="vfio-pci"),
        pytest.param({"driver": Link("/x/nvgrace-gpu-vfio-pci"), "vfio-dev/vfio3": None}, True, id="variant driver"),
        pytest.param({"driver": Link("/x/nvidia"), "vfio-dev": None}, False, id="empty directory"),
        pytest.param({"driver": Link("/x/nouveau")}, False, id="host driver"),
        pytest.param({}, False, id="no driver"),
    ],
)
def test_vfio(tmp_path: Path, files: dict[str, Content], vfio: bool) -> None:
    assert device(tmp_path, files).vfio is vfio


@pytest.mark.parametrize(
    ("files", "bridge"),
    [
        pytest.param({"class": "0x060400\n", "pci_bus/0000:02": None}, True, id="root port"),
        pytest.param({"class": "0x060401\n"}, True, id="by its class alone"),
        pytest.param({"class": "0x060700\n", "pci_bus/0000:02": None}, True, id="CardBus"),
        pytest.param({"class": "0x060100\n"}, False, id="ISA bridge"),
        pytest.param({"class": "0x030000\n"}, False, id="display"),
    ],
)
def test_bridge(tmp_path: Path, files: dict[str, Content], bridge: bool) -> None:
    assert device(tmp_path, files).bridge is bridge


@pytest.mark.parametrize(
    ("files", "methods"),
    [
        pytest.param({"reset_method": "flr bus\n", "reset": ""}, ("flr", "bus"), id="some"),
        pytest.param({"reset_method": "\n", "reset": ""}, (), id="an administrator took all away"),
        pytest.param({"vendor": "0x8086"}, (), id="none"),
        pytest.param({"reset": ""}, ("unknown",), id="a kernel before 5.15"),
        pytest.param({"reset_method": None}, Unread(f"{BUS}/{ADDRESS}/reset_method: Is a directory"), id="unreadable"),
    ],
)
def test_reset_methods(tmp_path: Path, files: dict[str, Content], methods: tuple[str, ...] | Unread) -> None:
    assert device(tmp_path, files).reset_methods == methods


def test_virtual_functions_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    links: dict[str, Content] = {f"virtfn{number}": Link(f"../0000:01:{number // 8:02x}.{number % 8}") for number in (2, 0, 10, 1)}
    assert device(tmp_path, links).virtfns == ("0000:01:00.0", "0000:01:00.1", "0000:01:00.2", "0000:01:01.2")


def test_a_group_that_cannot_be_listed_has_the_device_itself(tmp_path: Path) -> None:
    found = device(tmp_path, {"iommu_group": Link("/sys/kernel/iommu_groups/12")})
    assert (found.group, found.members) == ("12", (ADDRESS,))


# -- storage serials --------------------------------------------------------------------------------------------------

DISK = "ata1/host0/target0:0:0/0:0:0:0"
EXPANDED = "host1/port-1:0/expander-1:0/port-1:0:{0}/end_device-1:0:{0}/target1:0:{0}/1:0:{0}:0"
PAGE = b"\0\x80\0\x14"


def sas(number: int, serial: bytes) -> dict[str, Content]:
    place = EXPANDED.format(number)
    return {f"{place}/vpd_pg80": PAGE + serial, f"{place}/type": "0\n"}


@pytest.mark.parametrize(
    ("files", "serial"),
    [
        pytest.param({"class": "0x010802", "nvme/nvme3/serial": "S4EVNF0M        \n"}, "S4EVNF0M", id="NVMe"),
        pytest.param({"class": "0x010601", f"{DISK}/vpd_pg80": PAGE + b"      WD-WX12345\0", f"{DISK}/type": "0"}, "WD-WX12345", id="SATA"),
        pytest.param({"class": "0x010601", f"{DISK}/wwid": "t10.ATA     WDC  WX1\n", f"{DISK}/type": "0"}, "t10.ATA WDC WX1", id="wwid"),
        pytest.param({"class": "0x010601", f"{DISK}/vpd_pg80": PAGE + b"DVD1", f"{DISK}/type": "5"}, "", id="an optical drive"),
        pytest.param(sas(9, b"ZC2") | sas(3, b"ZC1") | {"class": "0x010700"}, "ZC1,ZC2", id="SAS behind an expander"),
        pytest.param({"class": "0x010000", "virtio1/block/vda/serial": "root\n"}, "root", id="virtio"),
        pytest.param(
            {"class": "0x0c0330", f"{DISK}/vpd_pg80": PAGE + b"STICK", f"{DISK}/type": "0"}, "", id="USB is no storage controller"
        ),
        pytest.param({"class": "0x010802"}, "", id="no controller yet"),
    ],
)
def test_serial(tmp_path: Path, files: dict[str, Content], serial: str) -> None:
    assert device(tmp_path, {"driver": Link("/x/y"), **files}).serial == serial


@pytest.mark.parametrize(("depth", "serial"), [(11, "X"), (12, "")])
def test_disks_are_not_looked_for_without_end(tmp_path: Path, depth: int, serial: str) -> None:
    disk = f"{'host0/' * depth}target0:0:0/0:0:0:0"
    files: dict[str, Content] = {f"{disk}/vpd_pg80": PAGE + b"X", f"{disk}/type": "0\n", "host1/host1": Link("../host1")}
    assert device(tmp_path, {"class": "0x010601", "driver": Link("/x/ahci"), **files}).serial == serial


# -- mediated devices and vGPUs ---------------------------------------------------------------------------------------


def test_types_of_mediated_devices(tmp_path: Path) -> None:
    types: dict[str, Content] = {"mdev_supported_types/i915-GVTg_V5_4/available_instances": "1\n"}
    types |= {"mdev_supported_types/i915-GVTg_V5_8/available_instances": "0\n", "mdev_supported_types/i915-GVTg_V5_2": None}
    found = device(tmp_path, {**types, "00000000-0000-0000-0000-000000000100": None, "power": None})
    assert found.mdev_types == {"i915-GVTg_V5_2": 0, "i915-GVTg_V5_4": 1, "i915-GVTg_V5_8": 0}
    assert found.mdevs == {"00000000-0000-0000-0000-000000000100"}
    assert found.vgpus is False


def test_nvidia_on_newer_kernels(tmp_path: Path) -> None:
    creatable = "ID    : vGPU Name\n557   : NVIDIA RTX6000-Ada-1B\n 560  : NVIDIA RTX6000-Ada-1A: x\nnonsense\n"
    found = device(tmp_path, {"nvidia/creatable_vgpu_types": creatable})
    assert found.vgpus is True
    assert found.mdev_types == {"nvidia-557": 1, "nvidia-560": 1}
    assert found.vgpu_type == -1
    assert device(tmp_path / "used", {"nvidia/creatable_vgpu_types": "", "nvidia/current_vgpu_type": "557\n"}).vgpu_type == 557


# -- framebuffers -----------------------------------------------------------------------------------------------------

NO_BAR = "0x0000000000000000 0x0000000000000000 0x0000000000000000\n"
PORTS = "0x000000000000e000 0x000000000000e07f 0x0000000000040101\n"
BAR = "0x00000000d0000000 0x00000000dfffffff 0x000000000014220c\n"
CARD = NO_BAR + BAR + PORTS + NO_BAR * 10


def iomem(start: str, end: str, name: str) -> str:
    bus = f"00000000-00000000 : Reserved\nc0000000-febfffff : PCI Bus 0000:00\n  d0000000-dfffffff : {ADDRESS}\n"
    return f"{bus}    {start}-{end} : {name}\n"


@pytest.mark.parametrize(
    ("resource", "memory", "framebuffer"),
    [
        pytest.param(CARD, iomem("d0000000", "d02fffff", "BOOTFB"), "BOOTFB", id="inside"),
        pytest.param(CARD, iomem("c0000000", "d02fffff", "efifb"), "efifb", id="overlapping"),
        pytest.param(CARD, iomem("dfffffff", "e02fffff", "simple-framebuffer.0"), "simple-framebuffer.0", id="last byte"),
        pytest.param(CARD, iomem("e0000000", "e02fffff", "BOOTFB"), "", id="another device's"),
        pytest.param(CARD, iomem("d0000000", "d02fffff", "amdgpu"), "", id="the card's own driver"),
        pytest.param(CARD, iomem("00000000", "00000000", "BOOTFB"), "", id="without root"),
        pytest.param(NO_BAR * 13, iomem("00000000", "00000fff", "BOOTFB"), "", id="no memory"),
        pytest.param(PORTS + NO_BAR * 12, iomem("0000e000", "0000e00f", "vesafb"), "", id="ports are no memory"),
        pytest.param(NO_BAR * 7 + BAR, iomem("d0000000", "d02fffff", "BOOTFB"), "", id="the window of a bridge"),
    ],
)
def test_framebuffer(tmp_path: Path, resource: str, memory: str, framebuffer: str) -> None:
    assert device(tmp_path, {"resource": resource}, beside={"/proc/iomem": memory}).framebuffer == framebuffer


# -- words ------------------------------------------------------------------------------------------------------------

PCI_IDS = """\
# List of PCI ID's
10de  NVIDIA Corporation
\t10f0  GP104 High Definition Audio Controller
\t1b80  GP104 [GeForce GTX 1080]
\t2235  GA102GL [A40]
144d  Samsung Electronics Co Ltd
\ta808  NVMe SSD Controller SM981/PM981/PM983
\t\t144d a801  SSD 970 EVO
1002  Advanced Micro Devices, Inc. [AMD/ATI]
\t73bf  Navi 21 [Radeon RX 6800/6800 XT / 6900 XT]
10ec  Realtek Semiconductor Co., Ltd.
\t8168  RTL8111/8168/8411 PCI Express Gigabit Ethernet Controller
15b3  Mellanox Technologies
\t1017  MT27800 Family [ConnectX-5]
1a03  ASPEED Technology, Inc.
\t2000  ASPEED Graphics Family
1b21  ASMedia Technology Inc.
8086  Intel Corporation
\t10d3  82574L Gigabit Network Connection
\t\t10de 1b80  a subsystem
C 01  Mass storage controller
"""


@pytest.mark.parametrize(
    ("ids", "code", "words"),
    [
        ("144d:a808", "010802", "Samsung NVMe SSD Controller SM981/PM981/PM983 [144d:a808]"),
        ("8086:10d3", "020000", "Intel 82574L Gigabit Network Connection [8086:10d3]"),
        ("10de:1b80", "030000", "NVIDIA GeForce GTX 1080 [10de:1b80]"),
        ("10de:2235", "030200", "NVIDIA graphics card A40 [10de:2235]"),
        ("1002:73bf", "030000", "AMD Radeon RX 6800/6800 XT / 6900 XT [1002:73bf]"),
        ("15b3:1017", "020000", "Mellanox Ethernet controller ConnectX-5 [15b3:1017]"),
        ("1a03:2000", "030000", "ASPEED Graphics Family [1a03:2000]"),
        pytest.param("10ec:8168", "020000", "Realtek Ethernet controller RTL8111/8168/8411... [10ec:8168]", id="too long"),
        pytest.param("144d:10d3", "010802", "Samsung NVMe disk [144d:10d3]", id="another vendor's device"),
        pytest.param("10de:a801", "0c0330", "NVIDIA USB controller [10de:a801]", id="another vendor's subsystem"),
        pytest.param("1b21:0612", "010601", "ASMedia SATA controller [1b21:0612]", id="vendor without devices"),
        pytest.param("1234:1111", "030000", "graphics card [1234:1111]", id="unknown vendor"),
        pytest.param("1234:1111", "ff0000", "PCI device [1234:1111]", id="unknown class"),
    ],
)
def test_words(tmp_path: Path, ids: str, code: str, words: str) -> None:
    vendor, product = ids.split(":")
    files: dict[str, Content] = {"vendor": f"0x{vendor}\n", "device": f"0x{product}\n", "class": f"0x{code}\n"}
    found = device(tmp_path, files, beside={"/usr/share/misc/pci.ids": PCI_IDS})
    assert found.words == words
    assert len(found.words) <= 60
    assert found.label == f"{ADDRESS} ({words})"


def test_words_of_the_first_vendor_in_the_list(tmp_path: Path) -> None:
    """The list of a capture begins with a vendor."""
    files: dict[str, Content] = {"vendor": "0x10de\n", "device": "0x1b80\n", "class": "0x030000\n"}
    ids = PCI_IDS.partition("\n")[2]
    assert device(tmp_path, files, beside={"/usr/share/misc/pci.ids": ids}).words == "NVIDIA GeForce GTX 1080 [10de:1b80]"


@pytest.mark.parametrize(("place", "maker"), [("/usr/share/hwdata/pci.ids", "Samsung "), ("/usr/share/doc/pci.ids", "")])
def test_words_come_from_elsewhere_or_from_the_class(tmp_path: Path, place: str, maker: str) -> None:
    files: dict[str, Content] = {"vendor": "0x144d\n", "device": "0x0001\n", "class": "0x010802\n"}
    assert device(tmp_path, files, beside={place: PCI_IDS}).words == f"{maker}NVMe disk [144d:0001]"


def test_words_of_bytes_that_are_no_text(tmp_path: Path) -> None:
    files: dict[str, Content] = {"vendor": "0x144d\n", "device": "0x0001\n", "class": "0x010802\n"}
    ids = b"#\n144d  Sam\x1b[31m\xffsung\n\t0001  A\x07 SSD"
    words = device(tmp_path, files, beside={"/usr/share/misc/pci.ids": ids}).words
    assert words.isprintable()
    assert words.endswith("A? SSD [144d:0001]")


@pytest.mark.parametrize(
    ("files", "word"),
    [
        pytest.param(
            {"iommu_group": Link("../../../kernel/iommu_groups/14")}, "iommu_group/devices: No such file or directory", id="dangling"
        ),
        pytest.param({"iommu_group": Link("../../../kernel/iommu_groups/16")}, "", id="read"),
        pytest.param({}, "", id="no group"),
        pytest.param({"iommu_group/devices/0000:01:00.0": ""}, "iommu_group: Invalid argument", id="no link"),
        pytest.param(
            {"iommu_group": Link("../../../kernel/iommu_groups/15")}, "iommu_group/devices: Not a directory", id="no list of members"
        ),
    ],
)
def test_a_group_that_cannot_be_read_is_not_known(tmp_path: Path, files: dict[str, Content], word: str) -> None:
    """Nobody may take the device for one that is alone."""
    tree: dict[str, Content] = {f"sys/devices/pci0000:00/0000:01:00.0/{name}": content for name, content in files.items()}
    tree["sys/kernel/iommu_groups/15/devices"] = ""
    tree["sys/kernel/iommu_groups/16/devices"] = None
    tree["sys/bus/pci/devices/0000:01:00.0"] = Link("../../../devices/pci0000:00/0000:01:00.0")
    tree["sys/devices/pci0000:00/0000:01:00.0/class"] = "0x030000\n"
    found = pci.devices(Host(str(make_fake_tree(tmp_path, tree))))
    assert not isinstance(found, Unread)
    assert found["0000:01:00.0"].group_unread.endswith(word)
    assert bool(found["0000:01:00.0"].group_unread) is bool(word)
