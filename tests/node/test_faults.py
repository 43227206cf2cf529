"""pmxcfs and the disk fail while 50 VMs are being given something: no byte is lost or doubled, and the journal has a few lines for a cause."""

from __future__ import annotations

import json
import re
import time
from typing import NamedTuple

import pytest

from tests.daemon.bed import uefi
from tests.node.conftest import MakeNode
from tests.node.machine import GUESTS, Machine, wait_until
from tests.node.test_withstand import MOST_LINES, lines, now, prepared

RECORDS = "/etc/pve/pvehooks/guests"
CONF = "/etc/pvehooks/pvehooks.conf"
QM_LOG = "/run/lock/bed-qm/log.jsonl"
MANY = 50
# Each change takes a while, so that the fault comes between two of them.
SLOW = '[{"do": "sleep", "seconds": 0.5, "verb": "set", "times": null}]'
# As PVE writes configs, all in one go.
WRITE = """
import json, pathlib, sys
place = pathlib.Path("/etc/pve/nodes/pve1/qemu-server")
for vmid, text in json.load(sys.stdin).items():
    (place / f"{vmid}.conf.tmp.1").write_text(text)
    (place / f"{vmid}.conf.tmp.1").rename(place / f"{vmid}.conf")
"""
# An hour of the daemon's own pauses, scaled (attacks/fast_daemon.py); systemd's stay as they are.
HOUR = 60.0
FAST = """\
[Service]
ExecStart=
ExecStart=/usr/bin/python3 /srv/pvehooks/tests/node/attacks/fast_daemon.py
"""


def config(vmid: int) -> str:
    text = uefi(f"vm-{vmid}").replace("b3247ab1-1fe6-428e-965b-08a1b64a8746", f"b3247ab1-1fe6-428e-965b-08a1b64a{vmid:04d}")
    return text.replace(",bridge=vmbr0", "")


class Fault(NamedTuple):
    """How it begins and ends, for how many seconds it lasts, and what the journal says of it when it begins and when it is over."""

    begin: str
    end: str
    seconds: float
    begins: str = ""
    ends: str = ""


def order(command: str) -> str:
    """A shell command that sends an order to the stand-in for pmxcfs."""
    return f"cd /srv/pvehooks && python3 -c 'from tests.beds.pmxcfs.wire import ask; ask(\"/job/pmxcfs\", {command})'"


CLUSTER = "systemctl kill --kill-who=main --signal="
FAULTS = {
    "hanging": Fault(order('"hang", None'), order('"resume"'), 20, "pmxcfs-away", "pmxcfs-back"),
    "process-stopped": Fault(f"{CLUSTER}STOP pve-cluster", f"{CLUSTER}CONT pve-cluster", 20, "pmxcfs-away", "pmxcfs-back"),
    "service-stopped": Fault("systemctl stop pve-cluster", "systemctl start pve-cluster", 5),
    "restarted": Fault("systemctl restart pve-cluster", "", 0),
    "killed": Fault(f"{CLUSTER}KILL pve-cluster; sleep 1; until test -e /etc/pve/.version; do sleep 0.1; done", "", 0),
    "quorum-lost": Fault(order('"quorum", False'), order('"quorum", True'), HOUR, "quorum-lost", "quorum-back"),
    "disk-full": Fault(
        "head -c 16M /dev/zero >/var/lib/pvehooks/filled 2>/dev/null || :",
        "rm /var/lib/pvehooks/filled",
        HOUR,
        "changes-wait",
        "changes-resumed",
    ),
}


@pytest.fixture
def node(make_node: MakeNode) -> Machine:
    """With the daemon of scaled pauses, and a small disk for backups."""
    node = prepared(make_node, members=("pve1", "pve2"))
    node.sh("systemctl stop pvehooks; cp -a /var/lib/pvehooks /srv/state; mount -t tmpfs -o size=8m,mode=700 tmpfs /var/lib/pvehooks")
    node.sh("cp -a /srv/state/. /var/lib/pvehooks; mkdir -p /run/systemd/system/pvehooks.service.d")
    node.run("sh", "-c", "cat >/run/systemd/system/pvehooks.service.d/fast.conf", stdin=FAST)
    node.sh(f"printf '[watch]\\ninterval = 5\\n' >{CONF}; systemctl daemon-reload; systemctl start pvehooks")
    return node


def write_all(node: Machine, vmids: range) -> None:
    node.run("python3", "-c", WRITE, stdin=json.dumps({vmid: config(vmid) for vmid in vmids}))


def given(node: Machine) -> set[int]:
    """The guests with an rng0, of those that can be read."""
    return set(map(int, re.findall(r"(\d+)\.conf", node.sh(f"cd {GUESTS} && grep -l ^rng0: *.conf", check=False))))


def processes(node: Machine) -> int:
    """How many processes of qm were started so far."""
    return node.sh(f"cat {QM_LOG}", check=False).count('"event": "start"')


def of_a_cause(node: Machine, since: float) -> list[str]:
    """The lines that say something else than what a guest was given."""
    return [line for line in lines(node, since) if ": given rng0 " not in line]


def no_qm(node: Machine) -> bool:
    """Whether nobody runs qm any more."""
    return node.run("pgrep", "-f", "beds/qm/stand_in", check=False).status == 1


def test_fifty_changes_and_a_fault(node: Machine) -> None:
    """One fault after the other, each in the middle of 50 changes."""
    node.write(100, config(100))
    node.wait_for_rng0(100)
    reference = node.read(100)
    node.run("sh", "-c", "cat >/run/lock/bed-qm/misbehaviour.json", stdin=SLOW)
    wanted = {100}
    for number, (name, fault) in enumerate(FAULTS.items(), 1):
        vmids = range(1000 * number, 1000 * number + MANY)
        since = now(node)
        write_all(node, vmids)
        changes_are_under_way(node, len(wanted))
        node.sh(fault.begin)
        lasts(node, name, fault, since)
        node.sh(fault.end)
        wanted.update(vmids)
        is_over(node, fault, since, wanted)
        cause = of_a_cause(node, since)
        print(f"{name}: {len(cause)} lines of {MANY} changes and {fault.seconds:.0f} s:", *cause, sep="\n  ")
        assert len(cause) <= MOST_LINES, (name, cause)
        is_whole(node, wanted, reference)


def changes_are_under_way(node: Machine, before: int) -> None:
    wait_until(lambda: len(given(node)) > before + 2, "changes are under way", node.state)


def lasts(node: Machine, name: str, fault: Fault, since: float) -> None:
    """It is found_words once, and nothing is tried meanwhile."""
    if fault.begins:
        wait_until(lambda: found_words(node, fault.begins, since), f"{name} is found_words", node.state)
    if fault.seconds == HOUR:
        wait_until(lambda: no_qm(node), "qm has ended", node.state)
    before = processes(node)
    time.sleep(fault.seconds)
    if fault.begins:
        assert processes(node) == before, f"{name}: no qm is started for what has to wait"
        assert len(found_words(node, fault.begins, since)) == 1 and not found_words(node, fault.ends, since), name


def is_over(node: Machine, fault: Fault, since: float, wanted: set[int]) -> None:
    wait_until(lambda: given(node) == wanted, "all are given their rng0", node.state)
    if fault.ends:
        wait_until(lambda: found_words(node, fault.ends, since), "it is found_words that it is over", node.state)
        assert len(found_words(node, fault.ends, since)) == 1


def found_words(node: Machine, event: str, since: float) -> list[str]:
    entries = node.entries(f"PVEHOOKS_EVENT={event}")
    return [str(entry["MESSAGE"]) for entry in entries if int(entry["__REALTIME_TIMESTAMP"]) > since * 1e6]


def is_whole(node: Machine, wanted: set[int], reference: str) -> None:
    """Each config is, byte by byte, what was written with one rng0; each guest has one complete record, and nothing else is there."""
    wait_until(lambda: no_qm(node), "qm has ended", node.state)
    found = json.loads(
        node.run(
            "python3",
            "-c",
            f"import json, pathlib; print(json.dumps({{p.name: p.read_text() for p in pathlib.Path('{GUESTS}').iterdir()}}))",
        ).out
    )
    expected = {
        f"{vmid}.conf": reference.replace("name: vm-100\n", f"name: vm-{vmid}\n").replace("08a1b64a0100", f"08a1b64a{vmid:04d}")
        for vmid in wanted
    }
    assert found == expected
    wait_until(
        lambda: node.sh(f'cd {RECORDS} && grep -l \'"state": "done"\' *').split() == sorted(f"{vmid}.json" for vmid in wanted),
        "all records are complete",
        node.state,
    )
    assert sorted(node.sh(f"ls {RECORDS}").split()) == sorted(f"{vmid}.json" for vmid in wanted)
