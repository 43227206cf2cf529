"""The MACs of virtual functions: what is noted, what the card has, what cloud-init is set up for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pvehooks.values import Unread
from pvehooks.values.pci import VfMacs, VfNote
from tests.beds.tree import Content
from tests.derived.bed import Support
from tests.rules.edges import assert_findings, found

TABLE = """\
0000:01:00.0 class=030000 id=10de:2684 driver=vfio-pci group=14
0000:03:00.0 class=020000 id=8086:1533 driver=igb group=39 net=enp3s0
0000:05:00.0 class=020000 id=8086:1572 driver=i40e group=40 net=enp5s0f0np0
0000:05:02.0 class=020000 id=8086:154c driver=vfio-pci group=41 pf=0000:05:00.0
0000:05:02.1 class=020000 id=8086:154c driver=vfio-pci group=42 pf=0000:05:00.0
"""
FIRST, SECOND, ZERO = "52:54:00:00:00:a0", "52:54:00:00:00:a1", "00:00:00:00:00:00"
VF = "hostpci0: 0000:05:02.1\n"
SET_UP = "ide2: local-lvm:vm-100-cloudinit,media=cdrom\ncicustom: network=local:snippets/net\nnet0: virtio=BC:24:11:2C:69:EC,bridge=vmbr0\n"
RUNNING: dict[str, Content] = {"run/qemu-server/100.pid": "42\n", "proc/42/cmdline": "kvm\0-id\x00100\0"}
AWAY: dict[str, Content] = {"proc/mounts": "nas:/a /var/lib/vz nfs4 rw 0 0\n"}


def snippet(*macs: str) -> dict[str, Content]:
    lines = "".join(f"  nic{number}:\n    match: {{'macaddress': '{mac}'}}\n" for number, mac in enumerate(macs))
    return {"var/lib/vz/snippets/net": f"version: 2\nethernets:\n{lines}"}


def support(shown: dict[int, str] | Unread, count: int = 0, **noted: str) -> dict[str, Any]:
    """What the card has, and notes as `v1="MAC"`, or `v1="trust=on"`."""
    known = Support()
    notes = {int(name[1:]): VfNote(value, "") if ":" in value else VfNote("", value) for name, value in noted.items()}
    known.known = VfMacs(count, notes, shown)
    return {"vf_support": known}


ZEROS = {0: ZERO, 1: ZERO}
GIVEN = {0: FIRST, 1: SECOND}
UNREAD = Unread("no ip here")


@pytest.mark.parametrize(
    ("config", "facts", "expected"),
    [
        pytest.param(VF, support(ZEROS), ["--vfs 2 --persist"], id="none"),
        pytest.param(VF, support(ZEROS, 7, v0=FIRST, v1="trust=on"), [f"--vfs 7 --vf 0:mac={FIRST} --vf 1:trust=on --persist"], id="what is noted is kept"),
        pytest.param(VF, support(ZEROS, 2, v1=SECOND), [], id="noted, set by its next start"),
        pytest.param(VF, support(GIVEN), [], id="it has one"),
        pytest.param(VF, support({}), [], id="not shown by the driver"),
        pytest.param(VF, support(UNREAD), [], id="not seen"),
        pytest.param(VF, {"vf_support": UNREAD}, [], id="of another node"),
        pytest.param("hostpci0: 0000:05:00.0\nhostpci1: 0000:01:00.0\n", support(ZEROS), [], id="no virtual function"),
        pytest.param("hostpci0: 0000:05:02.0\nhostpci1: 0000:05:02.1\n", support(ZEROS), ["function 0 of", "function 1 of"], id="two"),
    ],
)  # fmt: skip
def test_unset(config: str, facts: dict[str, Any], expected: list[str], tmp_path: Path) -> None:
    assert_findings(found(tmp_path, "vf-mac-unset", config, table=TABLE, **facts), expected)


def test_unset_of_a_card_of_which_nothing_is_known(tmp_path: Path) -> None:
    """Some cards have MACs for their virtual functions in their firmware, and show zeros all the same."""
    assert not found(tmp_path, "vf-mac-unset", VF, table=TABLE.replace("i40e", "cxgb4"), **support(ZEROS))


def test_one_of_several_of_a_mapping(tmp_path: Path) -> None:
    mapping = "any\n" + "".join(f"\tmap node=pve1,path=0000:05:02.{each},id=8086:154c,iommugroup=4{each + 1}\n" for each in (0, 1))
    files: dict[str, Content] = {"etc/pve/mapping/pci.cfg": mapping}
    assert not found(tmp_path, "vf-mac-unset", "hostpci0: mapping=any\n", files, table=TABLE, **support(ZEROS))


@pytest.mark.parametrize(
    ("files", "facts", "expected"),
    [
        pytest.param(RUNNING, support({1: FIRST}, 2, v1=SECOND), [f"has the MAC {FIRST} now, and not {SECOND} ... Stop the VM, have what is noted set (pvehooks bind 0000:05:00.0 --boot), and start it. If the new one is right: pvehooks bind 0000:05:00.0 --vfs 2 --vf 1:mac={FIRST} --persist"], id="another"),
        pytest.param(RUNNING, support({1: ZERO}, 2, v1=SECOND), [f"has no MAC now, and not {SECOND} ... --boot), and start it"], id="none"),
        pytest.param(RUNNING, support({}, 2, v1=SECOND), [], id="not shown"),
        pytest.param(RUNNING, support({1: FIRST}), [], id="nothing noted"),
        pytest.param({}, support({1: FIRST}, 2, v1=SECOND), [], id="its start sets it"),
    ],
)  # fmt: skip
def test_changed(files: dict[str, Content], facts: dict[str, Any], expected: list[str], tmp_path: Path) -> None:
    assert_findings(found(tmp_path, "vf-mac-differs", VF, files, table=TABLE, **facts), expected)


@pytest.mark.parametrize(
    ("config", "files", "facts", "expected"),
    [
        pytest.param(SET_UP, snippet(FIRST), support({1: SECOND}), [f"for the MAC {FIRST} ... hostpci0, virtual function 1 ... has the MAC {SECOND} ... --vf 1:mac={FIRST} --persist"], id="another"),
        pytest.param(SET_UP, snippet(FIRST), support({1: ZERO}), ["has no MAC of its own ... from the node's next boot on"], id="none"),
        pytest.param(SET_UP, snippet(FIRST), support(UNREAD, 2, v1=SECOND), [f"has the MAC {SECOND}"], id="as noted"),
        pytest.param(SET_UP, snippet(FIRST), support(UNREAD), ["?cicustom: ... 0000:05:02.1 is not noted, and the card does not show it"], id="not seen"),
        pytest.param(SET_UP, snippet(SECOND.upper()), support({1: SECOND}), [], id="the same"),
        pytest.param(SET_UP, snippet("bc:24:11:2c:69:ec"), support({1: SECOND}), [], id="that of a netN"),
        pytest.param(SET_UP, snippet(SECOND, FIRST), support({1: SECOND}), [], id="its own, and one of a bond perhaps"),
        pytest.param(SET_UP, snippet(), support({1: SECOND}), [], id="by no MAC"),
        pytest.param(SET_UP, {}, support({1: SECOND}), ["?cicustom: ... /var/lib/vz/snippets/net: No such file"], id="gone"),
        pytest.param(SET_UP, AWAY, support({1: SECOND}), ["?cicustom: ... not on a file system of this node's own"], id="on a server"),
        pytest.param(SET_UP.replace("local:snippets/", "local:iso/"), {}, support({1: SECOND}), ["?cicustom: ... is no snippet"], id="no snippet"),
        pytest.param(SET_UP, snippet(FIRST), {**support({1: SECOND}), "paths": UNREAD}, [], id="no paths"),
        pytest.param(SET_UP.replace("cicustom: network", "cicustom: user"), snippet(FIRST), support({1: SECOND}), [], id="of users"),
        pytest.param(SET_UP.replace("ide2", "#ide2"), snippet(FIRST), support({1: SECOND}), [], id="no drive with it"),
        pytest.param(SET_UP + "usb0: host=1-1\n", snippet(FIRST), support({1: SECOND}), [], id="perhaps that of a network card by USB"),
        pytest.param(SET_UP + "hostpci1: 0000:03:00.0\n", snippet(FIRST), support({1: SECOND}), [], id="perhaps that of a card"),
        pytest.param(SET_UP + "hostpci1: mapping=gone\n", snippet(FIRST), support({1: SECOND}), [], id="perhaps that of a device that is not there"),
        pytest.param(SET_UP + "hostpci1: 0000:01:00.0\n", snippet(FIRST), support({1: SECOND}), ["function 1"], id="beside a graphics card"),
    ],
)  # fmt: skip
def test_cloud_init(config: str, files: dict[str, Content], facts: dict[str, Any], expected: list[str], tmp_path: Path) -> None:
    assert_findings(found(tmp_path, "vf-mac-differs", VF + config, files, table=TABLE, **facts), expected)
