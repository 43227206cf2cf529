"""`check --target` and `status --cluster` as people and scripts see them; what `check` and `status` say of the guard."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from pvehooks import __version__
from pvehooks.daemon.publish.summary import read_hardware
from pvehooks.facts import hardware
from pvehooks.facts.cluster import summaries
from pvehooks.formats import summary as text
from pvehooks.host import Host
from pvehooks.values import Holder, Unread
from pvehooks.values.summaries import Hardware, Summary
from tests.beds import pci
from tests.beds.tree import Link, make_fake_tree
from tests.cluster.bed import DISK, GPU, ROOT_ON_DISK, pvehooks

Golden = Callable[[str, str], None]
# So far ahead that it was written just now.
WRITTEN = 4_000_000_000
STORAGES = """\
dir: local
	path /var/lib/vz
	content iso,snippets

lvmthin: local-lvm
	thinpool data
	vgname pve
	content images

nfs: nas
	path /mnt/pve/nas
	server 192.0.2.9
	export /export
	content images
	nodes pve1
"""
MEMBERS = {
    "nodename": "pve1",
    "version": 9,
    "cluster": {"name": "c", "version": 5, "nodes": 5, "quorate": 1},
    "nodelist": {f"pve{number}": {"id": number, "online": int(number != 4), "ip": f"192.0.2.{number}"} for number in range(1, 6)},
}
GUEST = "memory: 512\nname: {}\nmachine: q35\nnet0: virtio=BC:24:11:2C:69:EC,bridge=vmbr0\nboot: order=net0\n"
CONFIGS = "etc/pve/nodes/pve1/qemu-server"
MAPPED = "path=0000:01:00.0,id=10de:2204,subsystem-id=1043:87d0,iommugroup=14"
TREE = {
    **pci.plant(f"{GPU}\n{DISK}\n"),
    **ROOT_ON_DISK,
    f"{CONFIGS}/100.conf": GUEST.format("gpu") + "hostpci0: mapping=gpu,pcie=1\nhookscript: local:snippets/pvehooks-guard\n",
    f"{CONFIGS}/101.conf": GUEST.format("disk") + "hostpci0: 0000:02:00.0\nscsi0: local-lvm:vm-101-disk-0,size=8G\n",
    f"{CONFIGS}/102.conf": GUEST.format("plain") + "scsi0: nas:102/vm-102-disk-0.qcow2,size=8G\n",
    f"{CONFIGS}/103.conf": "template: 1\nname: master\nhostpci0: 0000:02:00.0\n",
    "etc/pve/nodes/pve1/lxc/300.conf": "hostname: ct\n",
    "etc/pve/local": Link("nodes/pve1"),
    "etc/pve/storage.cfg": STORAGES,
    "etc/pve/.members": json.dumps(MEMBERS),
    "etc/pve/mapping/pci.cfg": "gpu\n" + "".join(f"\tmap node=pve{number},{MAPPED}\n" for number in (1, 2, 4)),
    **{f"etc/pve/nodes/pve{number}/qemu-server": None for number in range(2, 6)},
    **{f"etc/pve/nodes/pve{number}/pvehooks.json": json.dumps({"version": __version__}) for number in (1, 2, 4, 5)},
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """pve2 is well, pve3 has no package, pve4 is offline, pve5 says nothing of itself."""
    tree = make_fake_tree(tmp_path / "tree", TREE)
    publish(
        tree, "pve1", passing=2, guarded=1, unguarded=(101,), guests=4, blocked=(101,), would_block=1, findings={"block": 1, "warning": 2}
    )
    publish(tree, "pve2", hookscripts={"local:snippets/pvehooks-guard": ""})
    publish(tree, "pve4", written=1_700_000_000, guard_mode="audit", version="0.9", bridges=None)
    return tree


def known(tree: Path) -> Hardware:
    host = Host(str(tree))
    found = read_hardware(host, hardware.gather(host, "pve1"))
    assert not isinstance(found, Unread)
    return found


def publish(tree: Path, node: str, **fields: object) -> None:
    """The node says that of itself, with this tree's hardware."""
    summary = Summary(__version__, WRITTEN, "enforce", "inject", 0, 0, 0, (), (), 0, {}, {}, {}, {}, known(tree), ("vmbr0",))
    Path(tree, summaries.path(node)[1:]).write_bytes(text.dump(summary._replace(**fields)))


@pytest.mark.parametrize(
    ("name", "arguments", "status"),
    [
        ("target", ["check", "--target", "pve2"], 1),
        ("target-one", ["check", "100", "--target", "pve2"], 0),
        ("target-json", ["check", "101", "--target", "pve2", "--json"], 1),
        ("target-without-package", ["check", "100", "102", "--target", "pve3"], 1),
        ("target-offline", ["check", "100", "--target", "pve4"], 3),
        ("target-without-summary", ["check", "101", "--target", "pve5"], 3),
        ("status", ["status", "--cluster"], 0),
        ("status-json", ["status", "--cluster", "--json"], 0),
    ],
)
def test_golden(name: str, arguments: list[str], status: int, tree: Path, golden: Golden) -> None:
    printed = pvehooks(tree, *arguments, status=status)
    printed = re.sub(r"[0-9]+ days ago", "DAYS ago", re.sub(r'"age": [1-9][0-9]*', '"age": AGE', printed))
    # The width of a column is that of the version.
    golden(f"cluster/{name}.txt", re.sub(r"(?<=\S) {2,}", "  ", printed.replace(__version__, "VERSION")))


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["100", "--target", "pve9"], 3, "there is no node 'pve9' in the cluster"),
        (["100", "--target", "pve1"], 2, "VM 100 is on pve1 already"),
        (["--target", "pve1"], 2, "the VMs of pve1 are there already"),
        (["999", "--target", "pve2"], 3, "there is no VM 999"),
        (["300", "--target", "pve2"], 3, "300 is a container"),
    ],
)
def test_wrong_use(arguments: list[str], status: int, words: str, tree: Path) -> None:
    assert words in pvehooks(tree, "check", *arguments, status=status)


def test_from_a_third_node(tree: Path) -> None:
    assert "VM 100 (gpu): would start on pve2" in pvehooks(tree, "check", "100", "--node", "pve3", "--target", "pve2")


def test_another_guest_holds_the_device_there(tree: Path) -> None:
    held = known(tree)._replace(holders={"0000:01:00.0": (Holder(200, "VM 200 (other)", "hostpci0"),)})
    publish(tree, "pve2", hardware=held, hookscripts={"local:snippets/pvehooks-guard": ""})
    printed = pvehooks(tree, "check", "100", "--target", "pve2", status=1)
    assert "on pve2: hostpci0 would take 0000:01:00.0 (graphics card [10de:2204]), which is hostpci0 of VM 200 (other)" in printed


def test_a_device_that_a_summary_had_no_room_for(tree: Path) -> None:
    """That it is not told is no proof that it is not there."""
    few = known(tree)._replace(devices={}, uses={}, left_out=2)
    publish(tree, "pve2", hardware=few, hookscripts={"local:snippets/pvehooks-guard": ""})
    printed = pvehooks(tree, "check", "100", "--target", "pve2", status=3)
    assert "not examined: the summary of pve2 leaves out 2 of its devices, perhaps 0000:01:00.0" in printed
    publish(tree, "pve2", hardware=few._replace(left_out=0), hookscripts={"local:snippets/pvehooks-guard": ""})
    assert "on pve2: hostpci0: there is no PCI device 0000:01:00.0" in pvehooks(tree, "check", "100", "--target", "pve2", status=1)


def test_a_firmware_image_that_each_node_has_for_itself(tree: Path) -> None:
    """No migration takes it along, and nodes do not tell which images they have: that a guest would start there is not known."""
    ours = "-bios /var/lib/vz/efi-firmware/app.fd"
    pinned = {
        "args": ours,
        "node": "pve1",
        "sha256": "0" * 64,
        "state": "done",
        "style": "bios",
        "volid": "local:efi-firmware/app.fd",
        "when": 1,
    }
    record = {"version": 1, "uuid": None, "ctime": None, "firmware": pinned}
    config = f"name: app\nbios: ovmf\namd-sev: type=snp\nmachine: q35\nargs: {ours}\n"
    make_fake_tree(tree, {f"{CONFIGS}/104.conf": config, "etc/pve/pvehooks/guests/104.json": json.dumps(record)})
    printed = pvehooks(tree, "check", "104", "--target", "pve2", status=3)
    assert "VM 104 (app): info: not examined: whether its firmware image local:efi-firmware/app.fd is on pve2 is unknown" in printed
    assert "pvehooks firmware import FILE --storage local --name app.fd\n" in printed
    assert "VM 104 (app): whether it would start on pve2 is not known" in printed


def test_settings_hold_for_a_target_too(tree: Path) -> None:
    settings = Path(tree, "etc/pve/pvehooks/pvehooks.conf")
    settings.parent.mkdir()
    settings.write_text("[guest 101]\nignore = group-in-use-by-host: it is a spare\n[rules]\ntarget-address-unmapped = info\n")
    printed = pvehooks(tree, "check", "101", "--target", "pve2")
    assert "hostpci0 names an address of one node" not in printed
    assert "1 for information not shown, see: pvehooks check 101 --target pve2 --all" in printed
    printed = pvehooks(tree, "check", "101", "--target", "pve2", "--all")
    assert "not shown" not in printed
    assert "VM 101 (disk): ignored: on pve2: hostpci0 would take" in printed
    assert "VM 101 (disk): info: hostpci0 names an address of one node" in printed


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--rule", "target-disk-local"], {"target-disk-local"}),
        (["--rule", "target-disk-local", "--rule", "group-in-use-by-host"], {"target-disk-local", "group-in-use-by-host"}),
        (["--severity", "block"], {"group-in-use-by-host"}),
        (["--rule", "target-disk-local", "--severity", "block"], set()),
    ],
)
def test_what_is_shown_of_a_target_can_be_chosen(arguments: list[str], expected: set[str], tree: Path) -> None:
    """The verdict and the status are those of all findings."""
    command = ("check", "101", "--target", "pve2", *arguments)
    text = pvehooks(tree, *command, status=1)
    assert set(re.findall(r"\[([a-z]+-[a-z-]+)\]", text)) == expected
    assert "VM 101 (disk): must not start on pve2" in text
    assert " not shown, see: pvehooks check 101 --target pve2 --all\n" in text
    (guest,) = json.loads(pvehooks(tree, *command, "--json", status=1))["guests"]
    assert ({finding["rule"] for finding in guest["findings"]}, guest["would_start"]) == (expected, "no")


def test_a_broken_summary(tree: Path) -> None:
    Path(tree, summaries.path("pve2")[1:]).write_bytes(b"\0\1")
    assert "pvehooks-summary.json is no JSON" in pvehooks(tree, "check", "101", "--target", "pve2", status=3)
    printed = pvehooks(tree, "status", "--cluster")
    assert "pve2: /etc/pve/nodes/pve2/pvehooks-summary.json is no JSON" in printed


def test_the_guard_in_check_and_status(tree: Path) -> None:
    conf = Path(tree, "etc/pvehooks/pvehooks.conf")
    conf.parent.mkdir()
    conf.write_text("[guard]\nmode = audit\n[guest 101]\n[[guard]]\nmode = off\n")
    record = Path(tree, "etc/pve/pvehooks/guests/101.json")
    record.parent.mkdir(parents=True)
    allowance = {"reason": "the old disk", "by": "root@pam", "when": 1_800_000_000}
    record.write_text(json.dumps({"version": 1, "uuid": None, "ctime": None, "allowance": allowance}))
    lines = pvehooks(tree, "check", "100", "101", status=1).splitlines()
    assert lines[-6:-3] == [
        "VM 101 (disk): its next start is allowed whatever is found: root@pam allowed it on 2027-01-15 08:00 (the old disk)",
        "[guard] mode = audit for VM 100 (gpu): findings that block are logged at a start, and do not refuse it",
        "[guard] mode = off for VM 101 (disk): nothing is checked when a VM starts",
    ]
    checked = json.loads(pvehooks(tree, "check", "100", "101", "--json", status=1))
    assert [guest["allowed"] for guest in checked["guests"]] == [None, allowance]
    assert checked["guard_mode"] == "audit"
    printed = pvehooks(tree, "status")
    assert "guard       [guard] mode = audit; 1 of 2 guests with passed-through devices have it, without it: VM 101 (disk)" in printed
    assert "allowed     the guard lets the next start through of VM 101 (disk)" in printed
    state = json.loads(pvehooks(tree, "status", "--json"))
    assert (state["guard_mode"], state["starts_allowed"]) == ("audit", [101])
    new = {"guest_count": 2, "guarded_count": 1, "unguarded": [101]}
    assert state["passthrough"] == {**new, "guests": 2, "guarded": 1}
