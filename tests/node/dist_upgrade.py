"""Debian 12 becomes 13 on a booted node, as Proxmox VE 8 becomes 9. By hand, it takes minutes: make test-dist-upgrade."""

from __future__ import annotations

import json
import subprocess

from tests.node.conftest import MakeNode
from tests.node.machine import Machine
from tests.node.test_hookscripts import CHAINED, FORMER, PLAIN, SNIPPETS, guest, hook, wait_attached

SUITES = ("bookworm",)
SETTINGS = "[guard]\nmode = enforce\nafter_stop = return\n\n[guest 101]\nignore = bridge-missing: it comes later\n"
KEPT = f"/etc/pvehooks /etc/pve/pvehooks/guests {SNIPPETS} {'/etc/pve/nodes/pve1/qemu-server'}"
RNG = "bios: ovmf\nefidisk0: local:vm-102-disk-0,efitype=4m\nnet0: virtio=BC:24:11:2C:69:EC,bridge=vmbr0\nmeta: creation-qemu=9.2.0,ctime=1800000102\n"


def fetched(node: Machine) -> None:
    """Has apt know Debian 13 and have its packages. From outside: the node has no network."""
    script = """
        sed -i 's/bookworm/trixie/g' /etc/apt/sources.list
        apt-get -q update
        apt-get -q --yes --download-only dist-upgrade
    """
    done = subprocess.run(
        ["chroot", str(node.root), "sh", "-ec", script], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=1800, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]


def upgrade(node: Machine) -> str:
    """What apt prints while it does it."""
    # systemd-nspawn mounts the machine's over it, and tzdata moves it.
    node.sh("umount /etc/localtime", check=False)
    command = "DEBIAN_FRONTEND=noninteractive apt-get --yes --no-download -oDpkg::Options::=--force-confold dist-upgrade && echo all done"
    printed = node.sh(command, check=False, timeout=3000)
    first = printed.find("error processing")
    assert printed.endswith("all done\n"), printed[max(0, first - 4000) : first + 1000] or printed[-4000:]
    return printed


def sums(node: Machine) -> str:
    """What is to be the same: settings, hooks, records, hookscripts, configs."""
    return node.sh(f"find {KEPT} -type f | sort | xargs sha256sum")


def works(node: Machine) -> None:
    """The service, the command line, and the guard with and without a former hookscript."""
    node.wait_active()
    assert json.loads(node.run("pvehooks", "status", "--json").out)["daemon"] == "running"
    status, output = hook(node, PLAIN, 101, "pre-start")
    assert status == 1 and "VM 101 (plain) is not started" in output, output
    status, output = hook(node, CHAINED, 100, "pre-start")
    assert status == 1 and output.startswith("former 100 pre-start\n"), output
    assert node.run("dpkg-query", "--show", "--showformat=${Status}", "pvehooks").out == "install ok installed"


def test_it_survives(make_node: MakeNode) -> None:
    node = make_node()
    node.sh(f"mkdir -p {SNIPPETS}")
    node.run("sh", "-c", f"cat >{SNIPPETS}/mine.sh; chmod 755 {SNIPPETS}/mine.sh", stdin=FORMER)
    node.install()
    node.wait_active()
    node.run("sh", "-c", "cat >/etc/pvehooks/pvehooks.conf; systemctl reload pvehooks", stdin=SETTINGS)
    node.sh("mkdir -p /etc/pvehooks/bind.d && printf 'id = 10de:2204\\ndriver = vfio-pci\\n' >/etc/pvehooks/bind.d/0000:01:00.0")
    node.write(100, guest("chained", 100, "hookscript: local:snippets/mine.sh\n"))
    node.write(101, guest("plain", 101))
    node.write(102, RNG)
    wait_attached(node, 100, CHAINED)
    wait_attached(node, 101, PLAIN)
    node.wait_for_rng0(102)
    works(node)
    before = sums(node)

    fetched(node)
    node.sh(f"systemd-run --quiet --unit=starts sh -c 'while :; do {SNIPPETS}/{PLAIN} 101 pre-start 2>&1; echo ended with $?; done'")
    upgraded = upgrade(node)
    node.sh("systemctl stop starts")
    assert "Setting up python3.13" in upgraded
    starts = [str(each["MESSAGE"]) for each in node.entries("_SYSTEMD_UNIT=starts.service")]
    ends = [line for line in starts if line.startswith("ended with")]
    assert len(ends) > 9 and set(ends) == {"ended with 1"}, starts
    works(node)
    assert sums(node) == before
    node.reboot()
    works(node)
    assert sums(node) == before
    assert node.run("python3", "--version").out.startswith("Python 3.13")
    identifiers = [f"SYSLOG_IDENTIFIER={name}" for name in ("pvehooks", "pvehooksd", "pvehooks-guard")]
    printed = [str(each["MESSAGE"]) for boot in ("-1", "0") for each in node.entries(f"--boot={boot}", *identifiers)]
    assert printed and not [text for text in printed if "Traceback" in text]
    node.write(103, RNG.replace("102", "103"))
    node.wait_for_rng0(103)
