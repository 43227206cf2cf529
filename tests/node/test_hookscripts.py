"""Former hookscripts on an installed package: they survive attaching, upgrade, removal, cloning and purge."""

from __future__ import annotations

from tests.node.builds import Builds
from tests.node.conftest import MakeNode
from tests.node.machine import Machine, wait_until

SNIPPETS = "/var/lib/vz/snippets"
PLAIN, CHAINED = "pvehooks-guard", "pvehooks-guard-local+mine.sh"
FORMER = """\
#!/bin/sh
echo "former $*"
[ "$2" != pre-stop ] || exit 7
"""


def guest(name: str, number: int, more: str = "") -> str:
    uuid = f"b3247ab1-1fe6-428e-965b-08a1b64a{number:04d}"
    return f"name: {name}\nhostpci0: 0000:01:00.0\nmeta: creation-qemu=9.2.0,ctime=18000{number:05d}\nsmbios1: uuid={uuid}\n{more}"


def hookscript(node: Machine, vmid: int) -> str:
    """The hookscript in the live part of the guest's config, '' for none."""
    live = node.read(vmid).partition("\n[")[0]
    return next((line.partition(": ")[2] for line in live.splitlines() if line.startswith("hookscript: ")), "")


def wait_attached(node: Machine, vmid: int, name: str) -> None:
    wait_until(lambda: hookscript(node, vmid) == f"local:snippets/{name}", f"VM {vmid} has {name}", node.state)


def hook(node: Machine, name: str, vmid: int, phase: str) -> tuple[int, str]:
    """Runs a hookscript as PVE does; its status and what a task log shows."""
    done = node.run(
        "sh", "-c", f"exec 2>&1; '{SNIPPETS}/{name}' {vmid} {phase}", check=False, LC_ALL="C", PATH="/sbin:/bin:/usr/sbin:/usr/bin"
    )
    return done.status, done.out


def former_runs(node: Machine, vmid: int) -> None:
    """In every phase, with its arguments and its status."""
    assert hook(node, CHAINED, vmid, "post-start") == (0, f"former {vmid} post-start\n")
    assert hook(node, CHAINED, vmid, "pre-stop") == (7, f"former {vmid} pre-stop\n")
    assert f"former {vmid} pre-start\n" in hook(node, CHAINED, vmid, "pre-start")[1]


def test_former_hookscripts_survive(make_node: MakeNode, builds: Builds) -> None:
    node = make_node(builds.older)
    node.sh(f"mkdir -p {SNIPPETS}")
    node.run("sh", "-c", f"cat >{SNIPPETS}/mine.sh; chmod 755 {SNIPPETS}/mine.sh", stdin=FORMER)
    node.install()
    node.wait_active()
    node.write(100, guest("chained", 100, "hookscript: local:snippets/mine.sh\n"))
    node.write(101, guest("plain", 101))
    wait_attached(node, 100, CHAINED)
    wait_attached(node, 101, PLAIN)
    former_runs(node, 100)
    status, output = hook(node, PLAIN, 101, "pre-start")
    assert status == 1 and "pvehooks: VM 101 (plain) is not started: hostpci0" in output

    node.write(
        102, node.read(100).replace("name: chained", "name: clone").replace("64a0100", "64a0102").replace("1800000100", "1800000102")
    )
    former_runs(node, 102)

    node.offer(builds.repository(builds.older, builds.deb))
    node.sh("apt-get update")
    node.install()
    node.wait_active()
    assert hookscript(node, 100) == f"local:snippets/{CHAINED}"
    former_runs(node, 100)

    output = node.apt("remove", "pvehooks")
    assert "pvehooks: left: the guard of VMs 100 101 102, unless the package is purged. They start as before" in output, output
    assert "    for vm in 101; do qm set $vm --delete hookscript; done\n" in output
    assert "    for vm in 100 102; do qm set $vm --hookscript local:snippets/mine.sh; done\n" in output
    former_runs(node, 100)
    status, output = hook(node, PLAIN, 101, "pre-start")
    assert status == 0 and "VM 101 starts without its guard" in output

    node.install()
    node.wait_active()
    node.write(103, guest("snapped", 103) + "\n[before]\nhookscript: local:snippets/pvehooks-guard\nsnaptime: 1800000000\n")
    wait_attached(node, 103, PLAIN)
    output = node.apt("purge", "pvehooks")
    assert [hookscript(node, vmid) for vmid in (100, 101, 102, 103)] == ["local:snippets/mine.sh", "", "local:snippets/mine.sh", ""], output
    assert "left: the guard" not in output.partition("Purging configuration files")[2], output
    assert f"left: {SNIPPETS}/{PLAIN}, which these VMs or their snapshots name: 103." in output
    assert node.sh(f"ls {SNIPPETS}").split() == ["mine.sh", PLAIN]
    assert hook(node, PLAIN, 103, "pre-start")[0] == 0
