"""What a start finds on its node: bridges, paths, CPUs; and above all what is not known is not taken for missing."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pvehooks.capture.record import RecordingHost
from pvehooks.facts import hardware
from pvehooks.facts.node import bridges, cpu, paths
from pvehooks.facts.storage import storages as storage_facts
from pvehooks.host import Host
from pvehooks.values import Unread
from pvehooks.values.starting import Gone, NoBridge
from tests.beds.tree import Content, make_fake_tree

NET = "sys/class/net"
STORAGES = """\
dir: big
	path /mnt/big
	content images

nfs: nas
	path /mnt/pve/nas
	server 192.0.2.1
	export /e
	content iso

"""


def tree(directory: Path, files: dict[str, Content]) -> Host:
    return Host(str(make_fake_tree(directory, files)))


def looked(host: Host) -> paths.NodePaths:
    return paths.NodePaths(host, "pve1", storage_facts.read(host))


# -- bridges ----------------------------------------------------------------------------------------------------------


def of(host: Host) -> bridges.NodeBridges:
    found = bridges.read(host, "pve1")
    assert not isinstance(found, Unread)
    return found


def test_names_are_those_for_guests(tmp_path: Path) -> None:
    made = ("fwbr101i0", "fwpr101p0", "fwln101i0", "fwln101o0", "tap101i0", "veth105i0", "vmbr0v12", "lo", "ovs-system")
    files: dict[str, Content] = {f"{NET}/{name}/bridge": None for name in (*made, "vmbr0", "lab", "labv2")}
    host = tree(tmp_path, {**files, f"{NET}/ovsbr/uevent": "INTERFACE=ovsbr\n", f"{NET}/eno1/device": None})
    assert of(host).names() == ("lab", "ovsbr", "vmbr0")


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param({}, NoBridge(), id="nothing"),
        pytest.param({f"{NET}/br/bridge": None}, None, id="bridge"),
        pytest.param({f"{NET}/br/uevent": "INTERFACE=br\n"}, None, id="may be Open vSwitch's"),
        pytest.param({f"{NET}/br/uevent": "DEVTYPE=vlan\n"}, NoBridge("a VLAN"), id="VLAN"),
        pytest.param({f"{NET}/br/uevent": "DEVTYPE=whatever\n"}, None, id="kind unknown"),
        pytest.param({f"{NET}/br/device": None}, NoBridge("a network card"), id="card"),
        pytest.param({"etc/network/interfaces": "iface br inet manual\n"}, NoBridge("", "/etc/network/interfaces"), id="not up"),
        pytest.param({"etc/pve/sdn/vnets.cfg": "vnet: br\n\tzone z\n"}, NoBridge("", "", "z"), id="VNet of an unknown zone"),
        pytest.param(
            {"etc/pve/sdn/vnets.cfg": "vnet: br\n\tzone z\n", "etc/pve/sdn/zones.cfg": "vlan: z\n\tnodes pve2,pve3\n"},
            NoBridge("", "", "z", False),
            id="VNet elsewhere",
        ),
        pytest.param({"etc/pve/sdn/vnets.cfg": b"\xff\0: br\n"}, NoBridge(), id="broken"),
    ],
)
def test_lacks(files: dict[str, Content], expected: NoBridge | None, tmp_path: Path) -> None:
    assert of(tree(tmp_path, {f"{NET}/lo": None, **files})).lacks("br") == expected


@pytest.mark.parametrize("files", [{}, {f"{NET}/vmbr0/bridge": None}], ids=["no list", "no loopback interface"])
def test_bridges_unread(files: dict[str, Content], tmp_path: Path) -> None:
    assert isinstance(bridges.read(tree(tmp_path, files), "pve1"), Unread)


def test_bridges_of_this_machine() -> None:
    """Of a real kernel's network: what is no bridge of ours is not missing by mistake, and no name leads out of the directory."""
    found = bridges.read(Host(), "pve1")
    assert not isinstance(found, Unread)
    assert found.lacks("no-such-bridge") == NoBridge()
    assert found.lacks("../net/lo") == found.lacks("..") == NoBridge()
    assert all(found.lacks(name) is None for name in found.names())


# -- CPUs -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("online", "count"),
    [("0\n", 1), ("0-7\n", 8), ("0-3,8,10-11\n", 7), ("\n", None), ("some\n", None), ("7-0\n", None), (None, None), ("0-9999999", None)],
)
def test_cpus(online: str | None, count: int | None, tmp_path: Path) -> None:
    found = cpu.count(tree(tmp_path, {} if online is None else {"sys/devices/system/cpu/online": online}))
    assert (None if isinstance(found, Unread) else found) == count


def test_cpus_of_this_machine() -> None:
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
        assert cpu.count(Host()) == sum(line.startswith("processor") for line in file)


# -- paths ------------------------------------------------------------------------------------------------------------

VOLUME = "100/vm-100-disk-0.raw"


@pytest.mark.parametrize(
    "option",
    ["is_mountpoint 1", "is_mountpoint /mnt", "nodes pve2", "disable 1", "content-dirs images=elsewhere"],
)
def test_unmounted_is_not_missing(option: str, tmp_path: Path) -> None:
    files: dict[str, Content] = {"mnt/big/images/100/other.raw": ""}
    missing = Gone(f"/mnt/big/images/{VOLUME} does not exist")
    assert looked(tree(tmp_path / "plain", {**files, "etc/pve/storage.cfg": STORAGES})).volume("big", VOLUME) == missing
    config = STORAGES.replace("\tpath /mnt/big\n", f"\tpath /mnt/big\n\t{option}\n")
    assert looked(tree(tmp_path / "other", {**files, "etc/pve/storage.cfg": config})).volume("big", VOLUME) is None


@pytest.mark.parametrize(
    ("mounts", "known"),
    [
        ("/dev/sda1 / ext4 rw 0 0\n", True),
        ("/dev/sdb1 /mnt/big xfs rw 0 0\n", True),
        ("x /mnt/big fuse.sshfs rw 0 0\n", False),
        ("x /mnt ocfs2 rw 0 0\n", False),
        ("x:/big /mnt/big nfs4 rw 0 0\n", True),
    ],
)
def test_file_systems(mounts: str, known: bool, tmp_path: Path) -> None:
    files: dict[str, Content] = {"etc/pve/storage.cfg": STORAGES, "mnt/big/images/100/other.raw": "", "proc/mounts": mounts}
    assert (looked(tree(tmp_path, files)).volume("big", VOLUME) is not None) == known


@pytest.mark.parametrize("mounts", ["", "x /mnt/pve/nas ext4 rw 0 0\n"], ids=["nothing", "something else"])
def test_share_that_is_not_mounted(mounts: str, tmp_path: Path) -> None:
    files: dict[str, Content] = {"etc/pve/storage.cfg": STORAGES, "mnt/pve/nas/template/iso": None, "proc/mounts": mounts}
    assert looked(tree(tmp_path, files)).volume("nas", "iso/x.iso") is None


class _Hanging(Host):
    """A server that is away: who looks below its mount waits."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.back = threading.Event()
        self.asked = 0

    def is_dir(self, path: str) -> bool:
        if path.startswith("/mnt/pve/nas"):
            self.asked += 1
            self.back.wait(30)
        return super().is_dir(path)


def test_a_server_that_is_away_holds_nothing_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "_PATIENCE", 0.05)
    files: dict[str, Content] = {
        "etc/pve/storage.cfg": STORAGES,
        "mnt/pve/nas/template/iso": None,
        "proc/mounts": "x /mnt/pve/nas nfs4 rw\n",
    }
    host = _Hanging(str(make_fake_tree(tmp_path, files)))
    found = looked(host)
    before = time.monotonic()
    assert [found.volume("nas", f"iso/{number}.iso") for number in range(20)] == [None] * 20
    assert host.asked == 1
    assert time.monotonic() - before < 25
    host.back.set()


@pytest.mark.parametrize(
    "volume",
    ["import/x.ova", "snippets/x", "iso/a/b.iso", "iso/x.txt", "../../x", "100/../../x.raw/", "x", "", "backup/vzdump-qemu-100.vma"],
)
def test_no_path_is_made_of_what_is_no_disk(volume: str, tmp_path: Path) -> None:
    files: dict[str, Content] = {"etc/pve/storage.cfg": STORAGES, "mnt/big/images": None, "mnt/big/template/iso": None}
    assert looked(tree(tmp_path, files)).volume("big", volume) is None


@pytest.mark.parametrize(("mode", "wanted"), [(0o755, "does not exist"), (0, "None")])
def test_a_directory_that_may_not_be_entered_is_not_known(mode: int, wanted: str, tmp_path: Path) -> None:
    """The daemon has no capabilities, and root's files on a share belong to nobody."""
    host = tree(tmp_path / "tree", {"etc/pve/storage.cfg": STORAGES, "mnt/big/images/100/other.raw": ""})
    os.chmod(host.locate("/mnt/big/images/100"), mode)
    for above in (tmp_path, *list(tmp_path.parents)[:-2]):
        os.chmod(above, 0o755)
    code = (
        "import os, sys; from pvehooks.host import Host, safepaths; from pvehooks.facts.node import paths; from pvehooks.facts.storage import storages as storage_facts; os.setuid(65534)\n"
        f"host = Host(sys.argv[1]); print(paths.NodePaths(host, 'pve1', storage_facts.read(host)).volume('big', {VOLUME!r}))"
    )
    project = Path(paths.__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", code, host.root], check=True, capture_output=True, text=True, cwd=project)
    assert wanted in done.stdout


def test_ports_of_this_machine() -> None:
    """On a node a port has to be a character device."""
    found = paths.NodePaths(Host(), "pve1", {})
    found.__dict__["_has_devices"] = True
    assert found.port("/dev/null") is None
    assert found.port("/dev/shm") == Gone("/dev/shm is no character device")
    assert found.port("/dev/no-such-port") == Gone("/dev/no-such-port does not exist")


def test_images_are_never_read(tmp_path: Path) -> None:
    """What a capture takes of a disk or an ISO image is that it is there."""
    files: dict[str, Content] = {
        "etc/pve/storage.cfg": STORAGES,
        "etc/pve/nodes/pve1/qemu-server/100.conf": f"scsi0: big:{VOLUME}\nscsi1: /srv/x.raw\n",
        f"mnt/big/images/{VOLUME}": "the guest's secret",
        "srv/x.raw": "the guest's secret",
    }
    host = RecordingHost(str(make_fake_tree(tmp_path, files)))
    found = hardware.gather(host, "pve1").paths
    assert not isinstance(found, Unread)
    assert found.volume("big", VOLUME) is found.drive("/srv/x.raw") is None
    things = host.recording.things
    assert things[f"/mnt/big/images/{VOLUME}"].content is things["/srv/x.raw"].content is None
