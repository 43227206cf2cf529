"""The maintainer scripts where something is wrong: pmxcfs away, dead, hanging or without quorum; twice; killed half way."""

from __future__ import annotations

import random
import time

import pytest

from tests.daemon.bed import uefi
from tests.node.builds import Builds
from tests.node.conftest import MakeNode
from tests.node.machine import Machine, wait_until

AWAY = {
    "stopped": "systemctl mask --runtime pve-cluster; systemctl stop pve-cluster",
    "dead": "systemctl mask --runtime pve-cluster; systemctl kill --signal=SIGKILL pve-cluster; while systemctl is-active --quiet pve-cluster; do sleep 0.1; done",
}
BACK = "systemctl unmask --runtime pve-cluster; systemctl start pve-cluster"
OURS = "/var/lib/pvehooks /run/pvehooks /run/lock/pvehooks /etc/pvehooks"
RECORDS = "/etc/pve/pvehooks/guests"


def works(node: Machine, vmid: int) -> None:
    """The service runs, is enabled, and does its work."""
    node.wait_active(40)
    assert node.run("systemctl", "is-enabled", "pvehooks").out.strip() == "enabled"
    node.write(vmid, uefi(f"guest-{vmid}"))
    node.wait_for_rng0(vmid, 40)


def is_gone(node: Machine, left: str = "") -> None:
    """Nothing is left on the node, but for what is named."""
    assert not node.active()
    found = node.sh(
        f"ls -d {OURS} 2>/dev/null; find /etc/systemd /var/lib/systemd -name '*pvehooks*'; systemctl list-units --failed --no-legend 'pvehooks*'",
        check=False,
    )
    assert found.split() == left.split()
    status = node.run("dpkg-query", "--show", "--showformat=${Status}", "pvehooks", check=False).out
    assert status in ("", "unknown ok not-installed")


@pytest.mark.parametrize("how", AWAY)
def test_pmxcfs_is_away(make_node: MakeNode, how: str) -> None:
    node = make_node()
    node.sh(AWAY[how], check=False)
    said = node.install()
    assert "pvehooks: pmxcfs does not answer; the service waits for it." in said
    node.sh(BACK)
    works(node, 100)
    node.sh(AWAY[how], check=False)
    said = node.install("pvehooks", "--reinstall")
    assert "pvehooks: pmxcfs does not answer" in said
    said = node.apt("purge", "pvehooks")
    assert "left: what is in /etc/pve/pvehooks, because pmxcfs does not answer" in said and "rm -r /etc/pve/pvehooks" in said
    is_gone(node)
    node.sh(BACK)
    assert node.run("test", "-e", f"{RECORDS}/100.json").status == 0
    node.install()
    works(node, 101)
    node.apt("purge", "pvehooks")
    assert node.run("test", "-e", "/etc/pve/pvehooks", check=False).status == 1


def test_pmxcfs_hangs(node: Machine) -> None:
    """Purge waits for it, but not for ever. (What had asked it before may not be killed: that is the kernel's.)"""
    works(node, 100)
    node.run("systemctl", "stop", "pvehooks")
    node.sh("(cat /etc/pve/.version >/dev/null 2>&1; sleep 1; cat /etc/pve/.version) >/dev/null 2>&1 &")
    node.pmxcfs("hang", None)
    time.sleep(1.5)
    began = time.monotonic()
    said = node.apt("purge", "pvehooks")
    assert "because pmxcfs does not answer" in said and time.monotonic() - began < 60
    node.pmxcfs("resume")
    is_gone(node)


def test_without_quorum(make_node: MakeNode) -> None:
    node = make_node(members=("pve1", "pve2"))
    node.pmxcfs("quorum", False)
    assert "pvehooks: the cluster has no quorum" in node.install()
    assert node.active()
    node.pmxcfs("quorum", True)
    works(node, 100)
    node.pmxcfs("quorum", False)
    assert "pvehooks: the cluster has no quorum" in node.install("pvehooks", "--reinstall")
    said = node.apt("purge", "pvehooks")
    assert "because pmxcfs takes no writes now" in said
    is_gone(node)
    assert "rng0" in node.read(100)


def test_in_a_cluster_others_keep_theirs(make_node: MakeNode) -> None:
    node = make_node(members=("pve1", "pve2"))
    node.install()
    works(node, 100)
    node.remote_write("nodes/pve2/qemu-server/200.conf", uefi("other"))
    for vmid in (200, 300):
        node.remote_write(f"pvehooks/guests/{vmid}.json", node.run("cat", f"{RECORDS}/100.json").out)
    node.remote_write("pvehooks/pvehooks.conf", "[rng]\nmode = warn\n")
    said = node.apt("purge", "pvehooks")
    assert "left: /etc/pve/pvehooks, the cluster's settings and the records of other nodes" in said
    # 300 is nobody's; the first look is the cluster's.
    wanted = {f"{RECORDS}/200.json", "/etc/pve/pvehooks/first-look.json", "/etc/pve/pvehooks/pvehooks.conf"}
    assert set(node.sh("find /etc/pve/pvehooks -type f").split()) == wanted
    is_gone(node)


def test_everything_twice(node: Machine) -> None:
    works(node, 100)
    for vmid in (101, 102):
        node.sh("dpkg --install /srv/repo/pool/main/p/pvehooks/*.deb")
        works(node, vmid)
    for _ in range(2):
        node.sh("dpkg --remove pvehooks")
        assert not node.active()
    node.install()
    works(node, 103)
    for _ in range(2):
        node.sh("dpkg --remove pvehooks; dpkg --purge pvehooks")
        is_gone(node)
    # The scripts by themselves, as dpkg calls them again after an interruption.
    node.install()
    node.sh("cp /var/lib/dpkg/info/pvehooks.postrm /root/postrm; dpkg --purge pvehooks; sh /root/postrm purge; sh /root/postrm purge")
    is_gone(node)


def test_what_the_admin_put_beside_it_stays_and_is_told(node: Machine) -> None:
    node.sh(
        "mkdir -p /etc/systemd/system/pvehooks.service.d; printf '[Service]\\nNice=1\\n' >/etc/systemd/system/pvehooks.service.d/mine.conf"
    )
    node.sh("echo mine >/etc/pvehooks/notes")
    said = node.apt("purge", "pvehooks")
    assert "left: /etc/pvehooks, which holds files that are not the package's" in said
    assert "left: /etc/systemd/system/pvehooks.service.d" in said
    assert node.run("cat", "/etc/pvehooks/notes").out == "mine\n"


# -- killed half way --------------------------------------------------------------------------------------------------

KILLED = """
setsid {command} >/root/dpkg.log 2>&1 </dev/null &
sleep {pause}
# All of it at once (the power goes), or dpkg alone (its script goes on by itself).
if [ {whole} = 1 ]; then pkill -KILL -s "$!"; else pkill -KILL -s "$!" -x dpkg; fi
status=0
wait "$!" || status=$?
while pgrep -s "$!" >/dev/null; do sleep 0.1; done
echo "$status"
"""


def killed(node: Machine, command: str, dice: random.Random, longest: float) -> bool:
    """Runs dpkg, kills it at some moment, and has the rest done; whether it was still at work then."""
    pause = dice.uniform(0.02, longest)
    ended = node.sh(KILLED.format(command=command, pause=f"{pause:.3f}", whole=dice.randint(0, 1)), timeout=90)
    node.sh("dpkg --configure -a")
    return ended.split()[-1] == "137"


def status(node: Machine) -> str:
    return node.run("dpkg-query", "--show", "--showformat=${db:Status-Abbrev}", "pvehooks", check=False).out.strip()


def test_killed_half_way(builds: Builds, make_node: MakeNode) -> None:
    node = make_node(builds.older)
    node.install()
    works(node, 100)
    conf = "[rng]\nmax_bytes = 512\n"
    node.sh(f"printf '{conf}' >/etc/pvehooks/pvehooks.conf".replace("\n", "\\n"))
    older = "/srv/older.deb"
    newer = "/srv/newer.deb"
    for source, name in ((builds.older, older), (builds.deb, newer)):
        (node.root / name.lstrip("/")).write_bytes(source.read_bytes())
    dice = random.Random(3)
    began = time.monotonic()
    node.sh(f"dpkg --force-confold --install {newer}")
    longest = time.monotonic() - began
    hits = []
    for round_number in range(8):
        package = (older, newer)[round_number % 2]
        hits += [killed(node, f"dpkg --force-confold --install {package}", dice, longest)]
        if status(node) != "ii":
            # Killed while unpacking: dpkg itself asks for this.
            node.sh(f"dpkg --force-confold --install {package}")
        assert node.run("cat", "/etc/pvehooks/pvehooks.conf").out == conf
        works(node, 110 + round_number)
    assert "max_bytes=512" in node.read(117)
    for round_number in range(6):
        hits += [killed(node, f"dpkg --{('remove', 'purge')[round_number % 2]} pvehooks", dice, 1.0)]
        node.sh(f"dpkg --force-confold --install {newer}")
        works(node, 120 + round_number)
    for _ in range(4):
        hits += [killed(node, "dpkg --purge pvehooks", dice, 1.0)]
        node.sh("dpkg --purge pvehooks")
        is_gone(node)
        assert node.run("test", "-e", "/etc/pve/pvehooks", check=False).status == 1
        hits += [killed(node, f"dpkg --install {newer}", dice, longest)]
        node.sh(f"dpkg --install {newer}")
        wait_until(node.active, "it is active", 40, node.state)
    works(node, 130)
    assert sum(hits) >= len(hits) // 2, f"dpkg was at work when it was killed: {hits}"
