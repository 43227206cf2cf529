"""pvehooks why: the cause of a failed start, as a person reads it at night, and for programs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest

from pvehooks.cli import terminal
from tests.beds.commandline import Ended, pvehooks
from tests.beds.tasks import STARTED, TaskLog
from tests.beds.tree import make_fake_tree

CONFIGS = "etc/pve/nodes/pve1/qemu-server"
TREE = {
    f"{CONFIGS}/100.conf": "name: web\nmemory: 512\nnet0: virtio=BC:24:11:2C:69:EC,bridge=vmbr9\nscsi0: local:100/vm-100-disk-0.qcow2,size=32G\n",
    f"{CONFIGS}/101.conf": "name: gpu\nmemory: 512\nscsi0: local:101/vm-101-disk-0.qcow2,size=32G\n",
    "etc/hostname": "pve1\n",
    "sys/class/net/vmbr0/bridge": None,
}
NO_BRIDGE = """\
bridge 'vmbr9' does not exist
kvm: -netdev type=tap,id=net0,ifname=tap100i0,script=/usr/libexec/qemu-server/pve-bridge,vhost=on: network script /usr/libexec/qemu-server/pve-bridge failed with status 512
TASK ERROR: start failed: QEMU exited with code 1
"""
NOT_VIABLE = """\
kvm: warning: host doesn't support requested feature: CPUID.01H:ECX.pcid [bit 17]
kvm: -device vfio-pci,host=0000:06:00.0,id=hostpci0,bus=ich9-pcie-port-1,addr=0x0: vfio 0000:06:00.0: group 7 is not viable
Please ensure all devices within the iommu_group are bound to their vfio bus driver.
kvm: vfio: Cannot reset device 0000:06:00.0, no available reset mechanism.
TASK ERROR: start failed: QEMU exited with code 1
"""
LOGS = {
    "bridge": NO_BRIDGE,
    "group": NOT_VIABLE,
    "hookscript": "/mnt/data is not mounted\nTASK ERROR: hookscript error for 100 on pre-start: command '/var/lib/vz/snippets/check.sh 100 pre-start' failed: exit code 1\n",
    "unknown": "some program says what nobody knows\nTASK ERROR: words that are not in the catalogue\n",
    "nothing": "TASK ERROR: start failed: QEMU exited with code 1\n",
    "timeout": f"TASK ERROR: start failed: command '/usr/bin/kvm -id 100 {'-device x ' * 400}' failed: got timeout\n",
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return make_fake_tree(tmp_path, TREE)


def why(tree: Path, *arguments: str, columns: int = 0) -> Ended:
    """What it prints, as on a terminal of so many columns (0: in a pipe)."""
    with mock.patch.object(terminal, "on_terminal", return_value=bool(columns)):
        return pvehooks("why", *arguments, "--root", str(tree), COLUMNS=str(columns or 80))


@pytest.mark.parametrize("columns", [60, 120])
@pytest.mark.parametrize("name", LOGS)
def test_words(name: str, columns: int, tree: Path, golden: Callable[[str, str], None]) -> None:
    TaskLog(tree).failed(100, LOGS[name])
    ended = why(tree, "100", columns=columns)
    assert ended.status == 1
    golden(f"cli/why-{name}-{columns}.txt", ended.output.replace(str(tree), "/TREE"))


def test_words_are_wrapped_and_what_is_copied_is_not(tree: Path) -> None:
    TaskLog(tree).failed(100, NO_BRIDGE)
    lines = why(tree, "100", columns=60).output.split("\n")
    assert [line for line in lines if len(line) > 60 and not line.startswith("    ")] == []
    assert any(line.startswith("    bridge ") or (line.startswith("      pvesh ") and len(line) > 60) for line in lines)


def test_all_vms_whose_last_start_failed(tree: Path, golden: Callable[[str, str], None]) -> None:
    tasks = TaskLog(tree)
    tasks.failed(100, NO_BRIDGE, STARTED)
    tasks.failed(101, NOT_VIABLE, STARTED + 10)
    tasks.failed(102, "TASK ERROR: start failed: QEMU exited with code 1\n", STARTED + 20)
    tasks.failed(102, "TASK OK\n", STARTED + 30)
    ended = why(tree)
    assert ended.status == 1
    golden("cli/why-all.txt", ended.output)
    found = json.loads(why(tree, "--json").output)
    assert [(each["vmid"], each["cause"]) for each in found["failed_starts"]] == [(101, "group-not-viable"), (100, "bridge-not-there")]


NOT_AT_BOOT = "It is not started when the node boots. To have that:\n"


def test_it_was_never_started(tree: Path) -> None:
    TaskLog(tree).failed(100, NO_BRIDGE)
    ended = why(tree, "101")
    assert ended.status == 2 and ended.output.splitlines()[1:] == [f"  {NOT_AT_BOOT.strip()} qm set 101 --onboot 1"]
    make_fake_tree(tree, {f"{CONFIGS}/101.conf": "name: gpu\nonboot: 1\n"})
    assert "was the VM started on another one? Would it start now: pvehooks check 101" in why(tree, "101").output


def test_none_failed(tree: Path) -> None:
    TaskLog(tree).failed(100, "TASK OK\n")
    assert why(tree) == Ended(
        0, "No VM's last start failed, as far as this node's task log goes back.\nWhether one was started at all: pvehooks why VMID\n"
    )


def test_the_last_start_worked(tree: Path) -> None:
    tasks = TaskLog(tree)
    tasks.failed(100, NO_BRIDGE, STARTED)
    tasks.failed(100, "TASK OK\n", STARTED + 60)
    first = "VM 100 (web): its last start worked (2024-11-30 20:54:22, by root@pam)\n"
    make_fake_tree(tree, {"run/qemu-server/100.pid": "4711\n", "proc/4711/cmdline": "/usr/bin/kvm\0-id\x00100\0"})
    assert why(tree, "100") == Ended(0, first)
    (tree / "run/qemu-server/100.pid").unlink()
    off = "It does not run now. Who stopped it, or what ended it:\n      pvesh get /nodes/$(hostname)/tasks --vmid 100 --limit 10\n      journalctl -u 100.scope -n 20\n"
    assert why(tree, "100") == Ended(0, f"{first}{off}{NOT_AT_BOOT}      qm set 100 --onboot 1\n")
    for more in (
        {f"{CONFIGS}/100.conf": TREE[f"{CONFIGS}/100.conf"] + "onboot: 1\n"},
        {**TREE, "etc/pve/ha/resources.cfg": "vm: 100\n\tstate started\n"},
    ):
        make_fake_tree(tree, more)
        assert why(tree, "100") == Ended(0, first + off)
    assert json.loads(why(tree, "100", "--json").output)["cause"] is None


def test_a_task_by_its_upid(tree: Path) -> None:
    tasks = TaskLog(tree)
    first = tasks.failed(100, NO_BRIDGE, STARTED)
    tasks.failed(100, "TASK OK\n", STARTED + 60)
    found = json.loads(why(tree, first, "--json").output)
    assert found["upid"] == first
    assert found["cause"] == "bridge-not-there"
    assert found["diagnoses"][0]["line"] == 1
    assert found["diagnoses"][0]["text"] == "bridge 'vmbr9' does not exist"
    assert found["not_read"] == ["the kernel's log is not part of what is looked at"]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("105", "this node's task log has no start of VM 105"),
        ("99", "'99' is neither a VMID (a number from 100 to 999999999) nor a UPID"),
        ("web", "'web' is neither a VMID"),
        ("UPID:x", "'UPID:x' is no UPID"),
        ("UPID:pve1:0000A1B2:00C0FFEE:6744AB1C:qmstart:100:root@pam:", "this node has no ended task UPID:pve1"),
    ],
)
def test_what_is_not_there(asked: str, words: str, tree: Path) -> None:
    TaskLog(tree).failed(100, NO_BRIDGE)
    ended = why(tree, asked)
    assert ended.status == 2
    assert words in ended.output


def test_tasks_of_another_kind_are_no_starts(tree: Path) -> None:
    task = TaskLog(tree).failed(100, "TASK ERROR: backup failed\n", kind="vzdump")
    ended = why(tree, task)
    assert ended.status == 2
    assert "is no start of a VM" in ended.output


def test_hostile_words(tree: Path) -> None:
    """What a tenant's device or hookscript printed reaches the terminal as text alone, and a command as one word."""
    log = "storage 'x\x1b[2J\u202e; rm -rf /' is disabled\x07\r\nfake: line\udcff\nTASK ERROR: storage 'x\x1b[2J\u202e; rm -rf /' is disabled\n"
    TaskLog(tree).failed(100, log)
    for output in (why(tree, "100").output, why(tree).output, why(tree, "100", "--json").output):
        assert all(char.isprintable() or char == "\n" for char in output)
    assert "; rm -rf /'" in why(tree, "100").output


def test_another_user_and_another_guest_in_the_log(tree: Path) -> None:
    tasks = TaskLog(tree)
    tasks.end(tasks.begin(300, STARTED, user="tenant@pve!token"), "TASK ERROR: VM is locked (backup)\n")
    output = why(tree, "300").output
    assert output.startswith("VM 300: its start failed on 2024-11-30 20:53:22, after 2 s, by tenant@pve!token.\n")
    assert "qm unlock 300" in output


def test_in_another_language(tree: Path) -> None:
    """The C library's words may be translated; PVE's and QEMU's own are not."""
    log = "kvm: -drive file=/x: Could not open '/x': Datei oder Verzeichnis nicht gefunden\nTASK ERROR: start failed: QEMU exited with code 1\n"
    TaskLog(tree).failed(100, log)
    assert "Datei oder Verzeichnis nicht gefunden" in why(tree, "100").output


def test_the_last_failure_stands_where_people_look(tree: Path) -> None:
    """In check, status and the report, a line each; not for a VM that is not here any more, and not once a start has worked."""
    tasks = TaskLog(tree)
    tasks.failed(100, NO_BRIDGE, STARTED)
    tasks.failed(300, NO_BRIDGE, STARTED)
    line = (
        "VM 100 (web): its last start failed on 2024-11-30 20:53:22: the bridge vmbr9 does not exist on this node [bridge-not-there]."
        " More: pvehooks why 100"
    )
    for words in (["check"], ["check", "100"], ["status"], ["report", "--markdown", "-"]):
        output = pvehooks(*words, "--root", str(tree)).output
        assert line in " ".join(output.replace("\\", "").split()), output
        assert "300" not in output
    assert line not in pvehooks("check", "101", "--root", str(tree)).output
    for words in (["check", "--json"], ["status", "--json"]):
        (found,) = json.loads(pvehooks(*words, "--root", str(tree)).output)["failed_starts"]
        assert (found["vmid"], found["cause"]) == (100, "bridge-not-there")
    tasks.failed(100, "TASK OK\n", STARTED + 60)
    for words in (["check"], ["status"], ["report", "--markdown", "-"]):
        assert "failed on" not in pvehooks(*words, "--root", str(tree)).output


def test_of_many_failures_a_few_are_shown(tree: Path) -> None:
    tasks = TaskLog(tree)
    for vmid in range(100, 110):
        (tree / f"{CONFIGS}/{vmid}.conf").write_text("memory: 512\n")
        tasks.failed(vmid, NO_BRIDGE, STARTED + vmid)
    output = pvehooks("check", "--root", str(tree)).output
    assert output.count("its last start failed") == 5
    assert "5 VMs more whose last start failed: pvehooks why" in output
