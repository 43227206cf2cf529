"""USB devices of the node, the mappings of them, and who names them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pvehooks.facts import hardware
from pvehooks.facts.cluster import mappings
from pvehooks.facts.guests import configs as guests
from pvehooks.facts.guests import index
from pvehooks.facts.node import usb as usbdevices
from pvehooks.formats import propertystring
from pvehooks.host import Host
from pvehooks.values import Unread
from pvehooks.values.usb import UsbClaim, UsbDevice, UsbMapEntry, UsbMapping, UsbWant, named, wanted
from tests.beds import usb
from tests.beds.tree import Content, Link, make_fake_tree

GUESTS = "etc/pve/nodes/pve1/qemu-server"
DEVICES = """\
usb1 id=1d6b:0002 words=Linux/xHCI_Host_Controller
1-2 id=0bda:5411 hub
1-2.3 id=1050:0407 words=Yubico/YubiKey at=0000:00:14.0
2-1 id=046d:c52b words=/Receiver at=0000:3c:00.0
3-1 id=046d:c52b at=-
"""


def tree(path: Path, files: dict[str, Content]) -> Host:
    return Host(str(make_fake_tree(path, files)))


def test_devices(tmp_path: Path) -> None:
    found = usbdevices.read(tree(tmp_path, usb.plant(DEVICES)))
    assert found == {
        "1-2": UsbDevice("1-2", "0bda:5411", "USB device", "0000:00:14.0", True),
        "1-2.3": UsbDevice("1-2.3", "1050:0407", "Yubico YubiKey", "0000:00:14.0", False),
        "2-1": UsbDevice("2-1", "046d:c52b", "Receiver", "0000:3c:00.0", False),
        "3-1": UsbDevice("3-1", "046d:c52b", "USB device", "", False),
        "usb1": UsbDevice("", "1d6b:0002", "Linux xHCI Host Controller", "0000:00:14.0", True),
    }
    assert found["1-2.3"].label == "Yubico YubiKey [1050:0407] at port 1-2.3"


def test_a_controller_behind_bridges(tmp_path: Path) -> None:
    here = "sys/devices/pci0000:00/0000:00:1c.0/0000:02:00.0/usb5/5-1"
    files: dict[str, Content] = {
        f"{usb.BUS}/5-1": Link("../../../devices/pci0000:00/0000:00:1c.0/0000:02:00.0/usb5/5-1"),
        f"{here}/idVendor": "1050\n",
        f"{here}/idProduct": "0407\n",
    }
    found = usbdevices.read(tree(tmp_path, files))
    assert not isinstance(found, Unread)
    assert found["5-1"].controller == "0000:02:00.0"


@pytest.mark.parametrize(
    "files",
    [
        pytest.param({f"{usb.BUS}/1-2": Link("../../../devices/gone")}, id="unplugged meanwhile"),
        pytest.param({f"{usb.BUS}/1-2": Link("1-2")}, id="loop"),
        pytest.param({f"{usb.BUS}/1-2/idVendor": "1050\n"}, id="no product id"),
        pytest.param({f"{usb.BUS}/1-2:1.0/idVendor": "1050\n", f"{usb.BUS}/1-2:1.0/idProduct": "0407\n"}, id="interface"),
        pytest.param({f"{usb.BUS}/\u0661-2/idVendor": "1050\n", f"{usb.BUS}/\u0661-2/idProduct": "0407\n"}, id="other digits"),
    ],
)
def test_what_is_no_device(files: dict[str, Content], tmp_path: Path) -> None:
    assert usbdevices.read(tree(tmp_path, files)) == {}


def test_devices_with_bytes_that_are_no_text(tmp_path: Path) -> None:
    files = {**usb.plant("1-2 id=1050:0407 at=-"), "sys/devices/platform/usb-host.0/usb1/1-2/product": b"\xff\n"}
    found = usbdevices.read(tree(tmp_path, files))
    assert not isinstance(found, Unread)
    assert found["1-2"].words == "\udcff"


def test_no_usb_at_all(tmp_path: Path) -> None:
    assert usbdevices.read(Host(str(tmp_path))) == Unread("/sys/bus/usb/devices: No such file or directory")


def test_a_node_without_usb_has_no_devices(tmp_path: Path) -> None:
    """Its kernel loads usbcore with the first controller; PVE finds none there, too."""
    assert usbdevices.read(tree(tmp_path / "node", {"sys/bus/pci/devices/.keep": ""})) == {}
    assert isinstance(usbdevices.read(tree(tmp_path / "odd", {"sys/bus/pci/devices/.keep": "", "sys/bus/usb/devices": ""})), Unread)


def test_mappings(tmp_path: Path) -> None:
    text = "key\n\tmap node=pve1,id=1050:0407,path=1-2\n\tmap node=pve2,id=1050:0407\n\nbroken\n\tmap node=pve1,id=x\n\nother\n\tmap node=pve2,id=1050:0407\n\n"
    assert mappings.read_usb(tree(tmp_path, {"etc/pve/mapping/usb.cfg": text}), "pve1") == {
        "key": UsbMapping("key", (UsbMapEntry("1050:0407", "1-2"),), frozenset({"pve1", "pve2"})),
        "other": UsbMapping("other", (), frozenset({"pve2"})),
    }


def test_mappings_that_cannot_be_read(tmp_path: Path) -> None:
    assert mappings.read_usb(Host(str(tmp_path)), "pve1") == {}
    assert mappings.read_usb(tree(tmp_path, {"etc/pve/mapping/usb.cfg": None}), "pve1") == Unread(
        "/etc/pve/mapping/usb.cfg: Is a directory"
    )


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("1050:04AB", UsbWant("1050:04ab", "")),
        ("0x1050:0x0407", UsbWant("1050:0407", "")),
        ("1-2.3", UsbWant("", "1-2.3")),
        ("spice", None),
        ("1050:04070", None),
        ("1-2.", None),
        ("\u0661-2", None),
        ("", None),
    ],
)
def test_named(text: str, want: UsbWant | None) -> None:
    assert named(text) == want


@given(st.text(alphabet="0123456789abcdefABCDEFx:-.\nSPICEspice", max_size=14))
def test_named_takes_what_pve_takes(text: str) -> None:
    """What PVE accepts for `host=` names a device, unless it is a SPICE port, and nothing else does."""
    try:
        accepted = bool(propertystring.parse("usb0", f"host={text}"))
    except propertystring.PropertyError:
        accepted = False
    assert (named(text) is not None) is (accepted and text.lower() != "spice")


def test_wanted() -> None:
    mappings = {
        "port": UsbMapping("port", (UsbMapEntry("1050:0407", "1-2"),), frozenset()),
        "id": UsbMapping("id", (UsbMapEntry("1050:0407", ""),), frozenset()),
        "two": UsbMapping("two", (UsbMapEntry("1050:0407", ""),) * 2, frozenset()),
    }
    assert wanted({"mapping": "port"}, mappings) == UsbWant("", "1-2")
    assert wanted({"mapping": "id", "usb3": 1}, mappings) == UsbWant("1050:0407", "")
    refused = ({"mapping": "two"}, {"mapping": "none"}, {"mapping": "id", "host": "1-2"}, {"usb3": 1}, {})
    assert [wanted(properties, mappings) for properties in refused] == [None] * 5
    assert wanted({"mapping": "id"}, Unread("why")) is None


def test_claims(tmp_path: Path) -> None:
    """Of guests that run or start at boot; by id or place, as they name it."""
    configs = {
        "100": "onboot: 1\nname: web\nusb0: host=1-2\nusb1: spice\nusb2: host=1050:04AB\n",
        "101": "usb0: host=1-2\n",
        "102": "onboot: 1\ntemplate: 1\nusb0: host=1-2\n",
        "103": "onboot: 1\nusb7: mapping=key\nusb8: host=\nusb9: mapping=none\n",
        "104": "\xff",
    }
    files: dict[str, Content] = {f"{GUESTS}/{vmid}.conf": text for vmid, text in configs.items()}
    files["etc/pve/mapping/usb.cfg"] = "key\n\tmap node=pve1,id=1050:0407,path=1-2\n\n"
    node = hardware.gather(tree(tmp_path, files), "pve1")
    assert node.usb_claims == {
        "1-2": (UsbClaim(100, "VM 100 (web)", "usb0", False, True), UsbClaim(103, "VM 103", "usb7", False, True)),
        "1050:04ab": (UsbClaim(100, "VM 100 (web)", "usb2", False, True),),
    }


def test_no_claims_where_guests_cannot_be_listed(tmp_path: Path) -> None:
    node = hardware.gather(Host(str(tmp_path)), "pve1")
    assert isinstance(node.usb_claims, Unread)
    assert isinstance(node.memory_shares, Unread)


def test_memory_shares(tmp_path: Path) -> None:
    """By name, PVE's default being the VMID; what is pending counts beside what is live."""
    configs = {
        "100": "ivshmem: size=32\n",
        "101": "name: nas\nivshmem: size=64,name=100\n\n[PENDING]\nivshmem: size=64,name=new\n",
        "102": "template: 1\nivshmem: size=32,name=new\n",
        "103": "ivshmem: name=new\n",
        "104": "cores: 1\n",
    }
    host = tree(tmp_path, {f"{GUESTS}/{vmid}.conf": text for vmid, text in configs.items()})
    guest_context = guests.gather_context(host, "pve1", None)
    there = [guests.read(host, "pve1", vmid, guest_context) for vmid in (100, 101, 102, 103, 104, 105)]
    found = index.memory_shares(index.entries(there))
    shares = {name: [(share.vmid, share.size) for share in each] for name, each in found.items()}
    assert shares == {"100": [(100, 32), (101, 64)], "new": [(101, 64)]}
