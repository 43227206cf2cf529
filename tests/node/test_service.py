"""The service under systemd: watchdog, restarts, what becomes of it when pmxcfs goes and comes, settings, and its sandbox."""

from __future__ import annotations

import json
import re
import time

import pytest

from tests.daemon.bed import uefi
from tests.node.conftest import MakeNode
from tests.node.machine import Machine, wait_until

CONF = "/etc/pvehooks/pvehooks.conf"
UNIT = "pvehooks.service"
# In a chroot the kernel gives nobody a user namespace (user_namespaces(7)), and the beds may run in one: root leaves it first.
LEAVE_CHROOT = """
import contextlib, ctypes, os
with contextlib.suppress(OSError):
    inside = os.open("/", os.O_RDONLY)
    os.makedirs("/run/lock/probe-root", exist_ok=True)
    os.chroot("/run/lock/probe-root")
    os.fchdir(inside)
    for _ in range(64):
        os.chdir("..")
    os.chroot(".")
raise SystemExit(ctypes.CDLL(None).unshare(0x10000000) != 0)  # CLONE_NEWUSER
"""
# Sockets of programs that act for root, below /run; a container has them only if the test puts something there.
ACTING_FOR_ROOT = ("dbus/probe", "udev/control", "docker.sock", "containerd/probe")
# Each tries one thing and ends with 0 when it could. Standard output of `unshare` and the like does not matter.
PROBES = {
    "write-etc": "echo x >/etc/probe",
    "write-usr": "echo x >/usr/local/probe",
    "write-var": "echo x >/var/lib/probe",
    "write-root": "echo x >/root/probe",
    "write-kernel": "echo 1 >/proc/sys/net/ipv4/ip_forward",
    "write-cgroup": "mkdir /sys/fs/cgroup/probe && rmdir /sys/fs/cgroup/probe",
    "chown": "chown 1 /run/lock/probe-file",
    "setuid": "chmod u+s /run/lock/probe-file",
    "connect": "python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", 4321), 5)'",
    "packet-socket": "python3 -c 'import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW)'",
    "netlink-socket": "python3 -c 'import socket; socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)'",
    "user-namespace": f"python3 -c '{LEAVE_CHROOT}'",
    "mount-namespace": "unshare --mount true",
    "ipc-namespace": "unshare --ipc true",
    "network-namespace": "unshare --net true",
    "mount": "mount -t tmpfs tmpfs /mnt",
    "ptrace": "python3 -c 'import ctypes; raise SystemExit(ctypes.CDLL(None).ptrace(0, 0, 0, 0) != 0)'",
    "read-memory": "head -c 1 /proc/$(pgrep -x bed-sleep)/environ",
    "executable-memory": "python3 -c 'import mmap; mmap.mmap(-1, 4096, prot=7)'",
    "realtime": "chrt --fifo 1 true",
    "personality": "setarch --uname-2.6 true",
    "hostname": "hostname probe && hostname pve1",
    # What root outside would run: units, udev's rules, tmpfiles; and who would start a process outside for any root that asks.
    "write-run-units": "mkdir -p /run/systemd/system && echo x >/run/systemd/system/probe.service && rm /run/systemd/system/probe.service",
    "write-run-rules": "mkdir -p /run/udev/rules.d && echo x >/run/udev/rules.d/probe.rules && rm /run/udev/rules.d/probe.rules",
    "write-run-itself": "echo x >/run/probe && rm /run/probe",
    "ask-systemd": "systemctl show --property=Version",
    "run-outside": "systemd-run --quiet true",
    "systemd-socket": "test -S /run/systemd/private",
    **{f"ask-{name.replace('/', '-')}": f"grep -q probe /run/{name}" for name in ACTING_FOR_ROOT},
    "ask-initctl": "if [ -p /run/initctl ]; then timeout 2 sh -c ': >>/run/initctl'; else grep -q probe /run/initctl; fi",
}
# Only that the service has no capabilities keeps it from these; from the others, a line of the sandbox does, too.
BY_CAPABILITIES_ALONE = {"read-memory"}
# With the service's rights all of these still work: it could not do its work otherwise.
NEEDED = {
    "write-pmxcfs": "echo x >/etc/pve/probe && rm /etc/pve/probe",
    "write-lock": "mkdir -p /run/lock/qemu-server && echo x >/run/lock/qemu-server/probe",
    "write-state": "echo x >/var/lib/pvehooks/probe && rm /var/lib/pvehooks/probe",
    "write-run": "echo x >/run/pvehooks/probe && rm /run/pvehooks/probe",
    "read-cpuinfo": "grep -q processor /proc/cpuinfo && test -r /proc/cmdline",
    "see-processes": "test -r /proc/$(pgrep -x bed-sleep)/cmdline",
    "write-snippets": "echo x >/var/lib/vz/snippets/probe && rm /var/lib/vz/snippets/probe",
    "write-metrics": "echo x >/var/lib/prometheus/node-exporter/probe && rm /var/lib/prometheus/node-exporter/probe",
    "read-network-cards": "grep -q lo: /proc/net/dev && cat /sys/class/net/lo/operstate",
    "unix-socket": "python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"\\0probe\")'",
    "qm": "qm config 100",
    "pve-writer": 'echo \'{"id":1,"do":"config","vmid":100}\' | /usr/libexec/pvehooks/pve-writer | grep -q \'"outcome":"done"\'',
}


def probe(node: Machine, name: str, unit: str) -> dict[str, bool]:
    """Runs every probe in a unit; whether each could do what it tried."""
    commands = {**PROBES, **NEEDED}
    script = "".join(f"({command}) >/run/lock/probe-{name} 2>&1; echo {name} $? >>/run/lock/probes\n" for name, command in commands.items())
    node.run("sh", "-c", "cat >/usr/local/sbin/probe; chmod 755 /usr/local/sbin/probe", stdin=f"#!/bin/sh\n{script}exit 0\n")
    node.run("sh", "-c", f"cat >/etc/systemd/system/{name}.service", stdin=unit)
    node.sh(f"rm -f /run/lock/probe*; touch /run/lock/probe-file; systemctl daemon-reload; systemctl start {name}")
    answers = dict(line.split() for line in node.run("cat", "/run/lock/probes").out.splitlines())
    assert answers.keys() == commands.keys()
    return {name: status == "0" for name, status in answers.items()}


def probe_logs(node: Machine) -> str:
    return node.sh("head -n 3 /run/lock/probe*", check=False)


def test_the_sandbox_is_on(node: Machine) -> None:
    node.write(100, uefi())
    node.wait_for_rng0(100)
    node.run(
        "sh",
        "-c",
        "cp /bin/sleep /usr/local/bin/bed-sleep; ip link set lo up 2>/dev/null; systemd-run --quiet --unit=bed-sleep bed-sleep 1000",
    )
    listen = 'import socket; s = socket.create_server(("127.0.0.1", 4321)); [s.accept() for _ in range(99)]'
    node.run("systemd-run", "--quiet", "--unit=listen", "python3", "-c", listen)
    # Stand-ins for the sockets of those who act for root.
    for name in (*ACTING_FOR_ROOT, "initctl"):
        node.sh(f"mkdir -p $(dirname /run/{name}); [ -e /run/{name} ] || echo probe >/run/{name}")
    node.sh("mkdir -p /var/lib/vz/snippets /var/lib/prometheus/node-exporter")
    # The same unit file, with the probe in the daemon's place.
    sandbox = node.run("systemctl", "cat", UNIT).out
    for old, new in (
        (r"ExecStart=.*", "ExecStart=/usr/local/sbin/probe"),
        (r"Type=notify", "Type=oneshot"),
        (r"(Restart|WatchdogSec)=.*\n", ""),
    ):
        sandbox, changes = re.subn(rf"^{old}", new, sandbox, flags=re.MULTILINE)
        assert changes
    capable, changes = re.subn(r"^CapabilityBoundingSet=\n", "", sandbox, flags=re.MULTILINE)
    assert changes == 1
    outside = probe(node, "probe-outside", "[Service]\nType=oneshot\nExecStart=/usr/local/sbin/probe\n")
    assert outside == dict.fromkeys(outside, True), f"each probe works without the sandbox\n{probe_logs(node)}"
    expected = {**dict.fromkeys(PROBES, False), **dict.fromkeys(NEEDED, True)}
    assert probe(node, "probe-inside", sandbox) == expected, probe_logs(node)
    # What has more than one guard is also refused to a process that has every capability.
    assert probe(node, "probe-capable", capable) == {**expected, **dict.fromkeys(BY_CAPABILITIES_ALONE, True)}, probe_logs(node)


def test_the_running_daemon_is_in_it(node: Machine) -> None:
    status = node.run("cat", f"/proc/{node.wait_active()}/status").out
    assert re.search(r"^NoNewPrivs:\t1$", status, re.MULTILINE) and re.search(r"^Seccomp:\t2$", status, re.MULTILINE)
    assert set(re.findall(r"^Cap(?:Inh|Prm|Eff|Bnd|Amb):\t(\w+)$", status, re.MULTILINE)) == {"0" * 16}
    exposure = node.run("systemd-analyze", "security", "--no-pager", UNIT).out
    level = re.search(r"Overall exposure level for pvehooks.service: ([0-9.]+)", exposure)
    assert level and float(level[1]) <= 1.5, exposure
    assert node.run("systemd-analyze", "verify", UNIT).err == ""


def test_each_setting_that_is_missing_has_its_reason(node: Machine) -> None:
    text = node.run("systemctl", "cat", UNIT).out
    reasons = text.partition("# What is not set, and why")[2]
    table = json.loads(node.run("systemd-analyze", "security", "--json=short", UNIT).out)
    missing = [row["name"] for row in table if row.get("set") is False or float(row.get("exposure") or 0) > 0]
    # Names of settings: "User=/DynamicUser=", "RestrictAddressFamilies=~AF_UNIX".
    names = {name for entry in missing for name in re.findall(r"\w+=", entry)}
    explained = {name for head in re.findall(r"^# ([A-Z]\w+=.*?): ", reasons, re.MULTILINE) for name in re.findall(r"\w+=", head)}
    assert len(missing) > 5 and names == explained, (names, explained)


def replaced(node: Machine, pid: int) -> int:
    """Waits for another main process than that one, active; its id."""
    return int(
        wait_until(
            lambda: node.active() and int(node.show("MainPID")) not in (0, pid) and int(node.show("MainPID")),
            "a new process",
            node.state,
        )
    )


def test_it_is_restarted(node: Machine) -> None:
    first = node.wait_active()
    node.signal("SIGKILL")
    replaced(node, first)
    node.write(100, uefi())
    node.wait_for_rng0(100)
    node.sh(
        f"mkdir -p /run/systemd/system/{UNIT}.d; printf '[Service]\\nRestartSec=100ms\\nWatchdogSec=8\\n' >/run/systemd/system/{UNIT}.d/bed.conf"
    )
    node.sh("systemctl daemon-reload; systemctl restart pvehooks")
    pid = node.wait_active()
    for _ in range(10):  # systemd's default limit is five starts in ten seconds
        node.signal("SIGKILL")
        pid = replaced(node, pid)
    assert node.show("WatchdogUSec") == "8s"
    time.sleep(12)
    assert int(node.show("MainPID")) == pid, "it keeps the watchdog quiet"
    node.signal("SIGSTOP")
    replaced(node, pid)
    assert "atchdog timeout" in node.sh("journalctl -u pvehooks --no-pager")
    assert node.sh("systemctl cat pvehooks | grep ^WatchdogSec | head -n 1").strip() == "WatchdogSec=60"


def sees_changes(node: Machine, vmid: int) -> None:
    """It gives a new guest its rng0, and one that another node wrote."""
    node.wait_active()
    node.write(vmid, uefi(f"local-{vmid}"))
    node.wait_for_rng0(vmid)
    node.remote_write(f"nodes/pve1/qemu-server/{vmid + 1}.conf", uefi(f"remote-{vmid}"))
    node.wait_for_rng0(vmid + 1)


def test_pmxcfs_goes_and_comes(node: Machine) -> None:
    sees_changes(node, 100)
    node.run("systemctl", "restart", "pve-cluster")
    sees_changes(node, 110)
    # Stopped and started is not the same as restarted, for PartOf=.
    node.run("systemctl", "stop", "pve-cluster")
    wait_until(lambda: not node.active(), "it is stopped with pmxcfs")
    node.run("systemctl", "start", "pve-cluster")
    sees_changes(node, 120)
    # Killed: systemd starts it again, and the mount of the dead one is replaced.
    dead = node.show("MainPID", "pve-cluster.service")
    node.run("systemctl", "kill", "--signal=SIGKILL", "pve-cluster")
    # Until systemd has seen its end it calls the dead one active, and the kernel remembers for a second what files it had.
    wait_until(
        lambda: node.show("MainPID", "pve-cluster.service") not in ("0", dead) and node.active("pve-cluster.service"),
        "pmxcfs is back",
        node.state,
    )
    sees_changes(node, 130)
    assert "fuse_mount error" not in node.sh("journalctl -u pve-cluster --no-pager")


def test_pmxcfs_goes_and_comes_while_it_runs_on(node: Machine) -> None:
    """Without PartOf= at work: the stand-in is a process of its own, as when somebody starts pmxcfs by hand."""
    node.sh("systemctl stop pve-cluster; systemctl mask --runtime pve-cluster; systemctl start pvehooks")
    pid = node.wait_active()
    start = (
        "systemd-run --quiet --unit=bed-pmxcfs --working-directory=/srv/pvehooks --setenv=PYTHONDONTWRITEBYTECODE=1 --property=KillMode=mixed "
        "python3 -m tests.beds.pmxcfs /etc/pve --node pve1 --control /job/pmxcfs; until test -e /etc/pve/.version; do sleep 0.05; done"
    )
    for number, end in enumerate(("SIGTERM", "SIGKILL", "SIGTERM", "SIGKILL")):
        node.sh(start)
        sees_changes(node, 100 + 10 * number)
        node.sh(
            f"systemctl kill --signal={end} bed-pmxcfs; while systemctl is-active --quiet bed-pmxcfs; do sleep 0.05; done; systemctl reset-failed bed-pmxcfs",
            check=False,
        )
        time.sleep(1)
    node.sh(start)
    sees_changes(node, 160)
    assert int(node.show("MainPID")) == pid, "it needed no restart for that"


def test_started_on_a_dead_mount(node: Machine) -> None:
    node.sh("systemctl mask --runtime pve-cluster; systemctl kill --signal=SIGKILL pve-cluster")
    wait_until(lambda: "not connected" in node.sh("ls /etc/pve", check=False), "the mount is dead", node.state)
    node.run("systemctl", "restart", "pvehooks", check=False)
    node.sh("systemctl unmask --runtime pve-cluster; systemctl start pve-cluster")
    sees_changes(node, 100)


def test_a_qm_at_work_gets_its_time(node: Machine) -> None:
    orders = '[{"do": "sleep", "seconds": 8, "verb": "set", "vmid": "100"}]'
    node.run("sh", "-c", "cat >/run/lock/bed-qm/misbehaviour.json", stdin=orders)
    node.write(100, uefi())
    wait_until(lambda: '"set", "100"' in node.run("cat", "/run/lock/bed-qm/log.jsonl", check=False).out, "qm is at work", node.state)
    node.sh("systemctl stop pvehooks")
    assert "rng0" in node.read(100)
    assert "Killing process" not in node.sh("journalctl -u pvehooks --no-pager")


def test_a_hanging_pmxcfs_can_be_restarted(node: Machine) -> None:
    """The daemon hangs with it, and cannot be killed: the restart waits for it, but not for ever."""
    pid = node.wait_active()
    node.pmxcfs("hang", None)
    node.sh("touch /var/lib/pve-cluster/config.db-probe")
    wait_until(lambda: re.fullmatch(r"(?!.*poll)[a-z]\w+", node.sh(f"cat /proc/{pid}/wchan")), "the daemon hangs", node.state)
    node.sh("systemctl stop pvehooks")
    assert "Killing process" in node.sh("journalctl -u pvehooks --no-pager"), "it did hang"
    node.run("systemctl", "restart", "pve-cluster")
    sees_changes(node, 100)


def test_settings(node: Machine) -> None:
    pid = node.wait_active()
    node.sh(f"printf '[rng]\\nmax_bytes = 777\\n' >{CONF}; systemctl reload pvehooks")
    wait_until(lambda: node.entries("PVEHOOKS_EVENT=settings-read"), "the settings were read", node.state)
    node.write(100, uefi())
    node.wait_for_rng0(100)
    assert "max_bytes=777" in node.read(100)
    # A look reads the edit before the reload that is meant for it; it is said once all the same.
    node.sh(f"printf '[rng]\\nmax_bites = 1\\n' >{CONF}.new; mv {CONF}.new {CONF}")
    node.write(101, uefi("second"))
    node.wait_for_rng0(101)
    wait_until(lambda: node.entries("PVEHOOKS_EVENT=settings-broken"), "the broken settings are said", node.state)
    node.sh("systemctl reload pvehooks")
    node.write(102, uefi("third"))
    node.wait_for_rng0(102)
    (entry,) = node.entries("PVEHOOKS_EVENT=settings-broken")
    assert CONF in entry["MESSAGE"] and entry["PRIORITY"] == "3"
    for vmid in (101, 102):
        assert "max_bytes=777" in node.read(vmid), "the old settings stay"
    assert node.wait_active() == pid


@pytest.mark.parametrize("quorate", [True, False], ids=["with-quorum", "without-quorum"])
def test_it_does_not_wait_for_a_quorum_to_be_ready(make_node: MakeNode, quorate: bool) -> None:
    node = make_node(members=("pve1", "pve2"))
    node.pmxcfs("quorum", quorate)
    node.install()
    node.run("systemctl", "stop", "pvehooks")
    node.run("systemctl", "start", "pvehooks")
    assert node.active()
