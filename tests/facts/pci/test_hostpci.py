"""The forms of hostpciN. The answers were compared with those of parse_hostpci_devices and choose_hostpci_devices (qemu-server 9.2)."""

from __future__ import annotations

from pathlib import Path

import pytest

from pvehooks.facts.guests import configs as guests
from pvehooks.facts.node import qemu
from pvehooks.facts.pci import hostpci
from pvehooks.facts.pci.hostpci import Mappings
from pvehooks.host import Host
from pvehooks.values import Guest, Unread
from tests.beds.tree import Link, make_fake_tree

MAPPINGS = """\
one
\tmap node=pve1,path=0000:01:00.0,id=10de:2204

two
\tmap node=pve1,path=0000:01:00.0,id=10de:2204
\tmap node=pve2,path=0000:07:00.0,id=10de:2204
\tmap node=pve1,path=0000:02:00.0;0000:02:00.1,id=10de:2204

odd
\tmap node=pve1,path=0000:01:00x0,id=10de:2204

elsewhere
\tmap node=pve2,path=0000:07:00.0,id=10de:2204

"""


def guest(tmp_path: Path, config: str) -> Guest:
    """A guest of a node with the mappings above."""
    files = {"etc/pve/mapping/pci.cfg": MAPPINGS, "etc/pve/nodes/pve1/qemu-server/100.conf": config}
    host = Host(str(make_fake_tree(tmp_path, files)))
    return guests.read(host, "pve1", 100, guests.gather_context(host, "pve1", None))


@pytest.mark.parametrize(
    "value, choices",
    [
        pytest.param("0000:01:00.0", (("0000:01:00.0",),), id="whole address"),
        pytest.param("01:00.0", (("0000:01:00.0",),), id="no domain"),
        pytest.param("host=01:00", (("0000:01:00",),), id="slot"),
        pytest.param("10000:e1:00.1", (("10000:e1:00.1",),), id="domain of five digits"),
        pytest.param("00000:01:00.0", (("00000:01:00.0",),), id="a domain that no device has, PVE finds none"),
        pytest.param("01:00.0;01:00.1;0002:0a:1f", (("0000:01:00.0", "0000:01:00.1", "0002:0a:1f"),), id="list"),
        pytest.param("01:00.a", (("0000:01:00.a",),), id="a function that no device has"),
        pytest.param("mapping=one", (("0000:01:00.0",),), id="mapping"),
        pytest.param("mapping=two", (("0000:01:00.0",), ("0000:02:00.0", "0000:02:00.1")), id="alternatives of this node"),
        pytest.param("mapping=odd", Unread("'0000:01:00x0' is no PCI address"), id="malformed path that PVE's format lets through"),
        pytest.param("mapping=elsewhere", Unread("the mapping 'elsewhere' has no device on this node"), id="other node's"),
        pytest.param("mapping=none", Unread("there is no mapping 'none'"), id="no mapping"),
        pytest.param("host=01:00.0,mapping=one", Unread("'host' and 'mapping' exclude each other"), id="both"),
        pytest.param("pcie=0", Unread("neither 'host' nor 'mapping' is set"), id="neither"),
    ],
)
def test_choices(tmp_path: Path, value: str, choices: object) -> None:
    (entry,) = guest(tmp_path, f"hostpci3: {value}\n").hostpci
    assert (entry.option, entry.choices) == ("hostpci3", choices)


@pytest.mark.parametrize("value", ["0000:0A:00.0", "01:0.0", "0000:01:00.00", "x", "01:00.0,mdev=a/b", "01:00.0;", "01:00.0,pcie=maybe"])
def test_a_line_that_pve_does_not_accept_is_none(tmp_path: Path, value: str) -> None:
    """PVE starts the guest without it; that the line is lost is another rule's finding."""
    one = guest(tmp_path, f"hostpci0: {value}\n")
    assert one.hostpci == ()
    assert one.config is not None and len(one.config.dropped) == 1


def test_a_value_from_elsewhere_that_is_malformed_is_unread(tmp_path: Path) -> None:
    (entry,) = hostpci.read({"hostpci0": "0000:0A:00.0"}, Mappings(Host(str(tmp_path)), "pve1"))
    assert isinstance(entry.choices, Unread) and "is no PCI address" in entry.choices.why


@pytest.mark.parametrize(
    "value, mdev, whole, mapping",
    [
        ("01:00.0", "", True, ""),
        ("01:00.0,mdev=i915-GVTg_V5_4", "i915-GVTg_V5_4", False, ""),
        ("mapping=one,mdev=nvidia-35", "nvidia-35", False, "one"),
        ("01:00.0,driver=keep", "", False, ""),
        ("01:00.0,driver=vfio", "", True, ""),
    ],
)
def test_what_is_taken(tmp_path: Path, value: str, mdev: str, whole: bool, mapping: str) -> None:
    (entry,) = guest(tmp_path, f"hostpci0: {value}\n").hostpci
    assert (entry.mdev, entry.taken_whole, entry.mapping, entry.trouble) == (mdev, whole, mapping, "")


def test_the_order_is_by_number_and_pending_changes_count(tmp_path: Path) -> None:
    text = "hostpci10: 01:00.0\nhostpci2: 02:00.0\nhostpci0: 03:00.0\n\n[PENDING]\ndelete: hostpci0\nhostpci1: 04:00.0\n"
    assert [entry.option for entry in guest(tmp_path, text).hostpci] == ["hostpci1", "hostpci2", "hostpci10"]


IGD = "vga: none\nhostpci0: 00:02.0,legacy-igd=1"


@pytest.mark.parametrize(
    "config, troubles",
    [
        pytest.param("hostpci0: 01:00,pcie=1", ["pcie=1 needs the machine type q35"], id="pcie"),
        pytest.param("machine: pc-q35-9.0\nhostpci0: 01:00,pcie=1", [""], id="pcie and q35"),
        pytest.param("machine: q35,viommu=intel\nhostpci0: 01:00,pcie=1", [""], id="pcie and q35 with more"),
        pytest.param(IGD, [""], id="igd"),
        pytest.param("vga: none\nhostpci0: 00:02,legacy-igd=1", [""], id="igd by slot"),
        pytest.param(IGD.replace("vga: none", "vga: type=none"), ["legacy-igd=1 needs 'vga: none'"], id="PVE compares texts"),
        pytest.param(f"{IGD},rombar=0", ["legacy-igd=1 excludes rombar=0"], id="igd rombar"),
        pytest.param(f"{IGD},rombar=1", [""], id="igd with rombar"),
        pytest.param(f"{IGD},x-vga=1", ["legacy-igd=1 excludes x-vga"], id="igd x-vga"),
        pytest.param(f"{IGD},mdev=i915-1", ["legacy-igd=1 excludes mdev"], id="igd mdev"),
        pytest.param(f"machine: q35\n{IGD}", ["legacy-igd=1 excludes the machine type q35"], id="igd q35"),
        pytest.param(IGD.replace("00:02.0", "01:00.0"), ["legacy-igd=1 works for the device 0000:00:02.0 only"], id="igd elsewhere"),
        pytest.param(IGD.replace("00:02.0", "00:02.0;01:00.0"), ["legacy-igd=1 excludes several devices"], id="igd list"),
        pytest.param(
            IGD.replace("00:02.0", "mapping=two"), ["legacy-igd=1 excludes a mapping with several entries for this node"], id="igd mapping"
        ),
        pytest.param(
            f"{IGD}\nhostpci1: 03:02.0,legacy-igd=1", ["", "only one device can be in legacy-igd mode, hostpci0 is"], id="igd twice"
        ),
        pytest.param("hostpci0: 01:00.0;01:00.1,mdev=a", ["a mediated device cannot be made of several devices"], id="mdev of several"),
        pytest.param("hostpci0: 01:00.0\nhostpci1: 01:00.0", ["", "0000:01:00.0 is in hostpci0 already"], id="twice"),
        pytest.param("hostpci0: 01:00\nhostpci1: 01:00.1", ["", "0000:01:00.1 is in hostpci0 already"], id="slot and function"),
        pytest.param("hostpci0: 01:00.1\nhostpci1: 01:00", ["", "0000:01:00 is in hostpci0 already"], id="function and slot"),
        pytest.param("hostpci0: 01:00.0;01:00", ["0000:01:00 is named twice"], id="twice in one list"),
        pytest.param("hostpci0: 01:00.0\nhostpci1: 0001:01:00.0", ["", ""], id="another domain"),
        pytest.param("hostpci0: 01:00.0\nhostpci1: mapping=two", ["", ""], id="an alternative is left"),
        pytest.param("hostpci0: mapping=two\nhostpci1: 01:00.0", ["", ""], id="which alternative PVE takes is not known"),
        pytest.param(
            "hostpci0: 01:00.0\nhostpci1: 02:00\nhostpci2: mapping=two",
            ["", "", "0000:02:00.0 is in hostpci1 already"],
            id="no alternative is left",
        ),
        pytest.param("hostpci0: 01:00.0,mdev=a\nhostpci1: 01:00.0,mdev=a", ["", ""], id="two mdevs of one"),
    ],
)
def test_trouble(tmp_path: Path, config: str, troubles: list[str]) -> None:
    assert [entry.trouble for entry in guest(tmp_path, f"{config}\n").hostpci] == troubles


def test_functions() -> None:
    bus = ["0000:01:00.0", "0000:01:00.1", "0000:11:00.0", "0001:01:00.0"]
    assert hostpci.functions("0000:01:00", bus) == ("0000:01:00.0", "0000:01:00.1")
    assert hostpci.functions("0000:01:00.1", bus) == ("0000:01:00.1",)
    assert hostpci.functions("0000:01:00.2", bus) == hostpci.functions("0000:02:00", bus) == ()


def test_a_guest_without_hostpci_costs_no_reading_of_the_mappings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    whole = Host.read
    monkeypatch.setattr(Host, "read", lambda host, path, *more, **named: read.append(path) or whole(host, path, *more, **named))
    one = guest(tmp_path, "name: a\n")
    assert one.hostpci == ()
    assert one.hookscript is None
    assert not [path for path in read if path.endswith(".cfg")]
    assert guest(tmp_path / "other", "hostpci0: mapping=one\n").hostpci and "/etc/pve/mapping/pci.cfg" in read


def test_mappings_that_cannot_be_read(tmp_path: Path) -> None:
    make_fake_tree(tmp_path, {"etc/pve/mapping/pci.cfg": None})
    (entry,) = hostpci.read({"hostpci0": "mapping=one"}, Mappings(Host(str(tmp_path)), "pve1"))
    assert entry.choices == Unread("/etc/pve/mapping/pci.cfg: Is a directory")
    assert entry.trouble == ""


# -- ROM files --------------------------------------------------------------------------------------------------------


def test_roms(tmp_path: Path) -> None:
    kvm = "usr/share/kvm"
    loop = {f"{kvm}/loop": Link("loop"), f"{kvm}/gone.rom": Link("nowhere"), f"{kvm}/again": Link(".")}
    files = {f"{kvm}/card.rom": "", f"{kvm}/mine/other.rom": "", f"{kvm}/linked.rom": Link("card.rom"), **loop}
    found = qemu.roms(Host(str(make_fake_tree(tmp_path, files))))
    assert not isinstance(found, Unread)
    assert {"card.rom", "mine/other.rom", "linked.rom", "again/card.rom"} <= found
    assert not {"gone.rom", "loop", "mine"} & found


def test_roms_without_the_directory(tmp_path: Path) -> None:
    assert qemu.roms(Host(str(tmp_path))) == Unread("/usr/share/kvm: No such file or directory")
