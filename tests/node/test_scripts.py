"""The maintainer scripts where something is wrong: pmxcfs away, dead, hanging or without quorum; twice; killed half way."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon.bed import made, uefi
from tests.node.builds import Builds
from tests.node.conftest import MakeNode
from tests.node.machine import Machine

AWAY = {
    "stopped": "systemctl mask --runtime pve-cluster; systemctl stop pve-cluster",
    "dead": "systemctl mask --runtime pve-cluster; systemctl kill --signal=SIGKILL pve-cluster; while systemctl is-active --quiet pve-cluster; do sleep 0.1; done",
}
BACK = "systemctl unmask --runtime pve-cluster; systemctl start pve-cluster"
OURS = "/var/lib/pvehooks /run/pvehooks /run/lock/pvehooks /etc/pvehooks"
RECORDS = "/etc/pve/pvehooks/guests"
LATER = "To remove the records of this node's VMs later:"
ONCE = "Once no node has the package: "


def finishes_later(node: Machine, output: str, others: str = "") -> None:
    """What purge said is to be typed, typed as it stands: first this node's records go, then the rest."""
    after = output.partition(LATER)[2].strip().splitlines()
    last = after[1].strip()
    assert last.startswith(ONCE)
    node.sh(after[0])
    assert node.sh(f"ls {RECORDS}").split() == others.split()
    node.sh(last.removeprefix(ONCE))
    assert node.run("test", "-e", "/etc/pve/pvehooks", check=False).status == 1


def works(node: Machine, vmid: int) -> None:
    """The service runs, is enabled, and does its work."""
    node.wait_active()
    assert node.run("systemctl", "is-enabled", "pvehooks").out.strip() == "enabled"
    node.write(vmid, uefi(f"guest-{vmid}"))
    node.wait_for_rng0(vmid)


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
    output = node.install()
    assert "pvehooks: pmxcfs does not answer; the service waits for it." in output
    node.sh(BACK)
    works(node, 100)
    node.sh(AWAY[how], check=False)
    output = node.install("pvehooks", "--reinstall")
    assert "pvehooks: pmxcfs does not answer" in output
    output = node.apt("purge", "pvehooks")
    assert "left: all of /etc/pve/pvehooks, because pmxcfs does not answer" in output
    is_gone(node)
    node.sh(BACK)
    assert node.run("test", "-e", f"{RECORDS}/100.json").status == 0
    finishes_later(node, output)
    assert "rng0" in node.read(100)
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
    output = node.apt("purge", "pvehooks")
    assert "because pmxcfs does not answer" in output
    node.pmxcfs("resume")
    is_gone(node)


def test_without_quorum(make_node: MakeNode) -> None:
    node = make_node(members=("pve1", "pve2"))
    node.pmxcfs("quorum", False)
    assert "pvehooks: the cluster has no quorum" in node.install()
    assert node.active()
    node.pmxcfs("quorum", True)
    works(node, 100)
    node.remote_write("nodes/pve2/qemu-server/200.conf", uefi("other"))
    node.remote_write("pvehooks/guests/200.json", node.run("cat", f"{RECORDS}/100.json").out)
    node.pmxcfs("quorum", False)
    assert "pvehooks: the cluster has no quorum" in node.install("pvehooks", "--reinstall")
    output = node.apt("purge", "pvehooks")
    assert "left: all of /etc/pve/pvehooks, because pmxcfs accepts no writes now" in output
    is_gone(node)
    node.pmxcfs("quorum", True)
    assert node.sh(f"ls {RECORDS}").split() == ["100.json", "200.json"]
    finishes_later(node, output, "200.json")
    assert "rng0" in node.read(100)


def test_in_a_cluster_others_keep_theirs(make_node: MakeNode) -> None:
    node = make_node(members=("pve1", "pve2"))
    node.install()
    works(node, 100)
    node.remote_write("nodes/pve2/qemu-server/200.conf", uefi("other"))
    for vmid in (200, 300):
        node.remote_write(f"pvehooks/guests/{vmid}.json", node.run("cat", f"{RECORDS}/100.json").out)
    node.remote_write("pvehooks/pvehooks.conf", "[rng]\nmode = warn\n")
    # What a write leaves whose process is killed.
    node.sh(f"touch {RECORDS}/100.json.tmp.7 {RECORDS}/200.json.tmp.7 /etc/pve/pvehooks/first-look/pve1.json.tmp.7")
    output = node.apt("purge", "pvehooks")
    assert (
        "left: /etc/pve/pvehooks: the cluster's settings, the lists of VMs that existed before pvehooks, and the records of other nodes"
        in output
    )
    # 300 is nobody's; guests that have moved away are known by the first look.
    wanted = {
        f"{RECORDS}/200.json",
        f"{RECORDS}/200.json.tmp.7",
        "/etc/pve/pvehooks/first-look/pve1.json",
        "/etc/pve/pvehooks/pvehooks.conf",
    }
    assert set(node.sh("find /etc/pve/pvehooks -type f").split()) == wanted
    is_gone(node)
    assert LATER not in output, "this node's are gone"
    node.sh(output.partition(ONCE)[2].splitlines()[0])
    assert node.run("test", "-e", "/etc/pve/pvehooks", check=False).status == 1


@pytest.mark.parametrize("verb", ["remove", "purge"])
def test_what_is_made_while_the_package_is_not_there(make_node: MakeNode, verb: str) -> None:
    """It is left alone as what was there before, and so is what the administrator took out."""
    node = make_node(members=("pve1", "pve2"))
    node.install()
    node.wait_active()
    time.sleep(1)
    node.write(100, made("undone", 0))
    node.wait_for_rng0(100)
    node.run("pvehooks", "undo", "100")
    node.run("systemctl", "stop", "pvehooks")
    node.write(101, made("while-it-is-stopped", 0))
    node.install("pvehooks", "--reinstall")
    node.wait_for_rng0(101)
    node.apt(verb, "pvehooks")
    node.write(102, made("meanwhile", 0))
    node.install()
    works(node, 103)
    assert "rng0" in node.read(101) and "rng0" not in node.read(100) + node.read(102)
    node.write(102, made("meanwhile", 0, "cores: 2\n"))
    node.wait_for_rng0(102)


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


def test_what_the_admin_put_beside_it_stays_and_is_reported(node: Machine) -> None:
    node.sh(
        "mkdir -p /etc/systemd/system/pvehooks.service.d; printf '[Service]\\nNice=1\\n' >/etc/systemd/system/pvehooks.service.d/mine.conf"
    )
    node.sh("echo mine >/etc/pvehooks/notes")
    output = node.apt("purge", "pvehooks")
    assert "left: /etc/pvehooks, which contains files that do not belong to the package." in output
    assert "left: /etc/systemd/system/pvehooks.service.d" in output
    assert node.run("cat", "/etc/pvehooks/notes").out == "mine\n"


# Two fixes as `pvehooks host fix` keeps them, the first one undone.
KEEP = """
from pvehooks.actions.host import history, plan
from pvehooks.host import Host
for file, state in (("/etc/modules", "undone"), ("/etc/default/grub", "done")):
    change = plan.FileChange(file, b"before", b"after")
    open(file, "ab").close()
    history.write_manifest(Host(), history.prepare(Host(), (change,), (), ("a-rule",))._replace(state=state))
"""


def test_what_passthrough_was_given_on_the_node_is_reported(node: Machine) -> None:
    node.sh("mkdir -p /etc/default /etc/pvehooks/bind.d; echo '{}' >/etc/pvehooks/bind.d/0000:01:00.0")
    node.run("python3", "-c", KEEP)
    output = node.apt("remove", "pvehooks")
    assert "are no longer bound to vfio-pci from the next boot on" in output and "left:" not in output, output
    output = node.apt("purge", "pvehooks")
    assert 'left: what "pvehooks host fix" wrote into /etc/default/grub; the copies' in output and "any more" not in output, output
    is_gone(node)


# -- killed half way --------------------------------------------------------------------------------------------------

KILLED = """
setsid {command} >/root/dpkg.log 2>&1 </dev/null &
until pgrep -s "$!" -x dpkg >/dev/null; do :; done
sleep {pause}
# All of it at once (the power goes), or dpkg alone (its script goes on by itself).
if [ {whole} = 1 ]; then pkill -KILL -s "$!"; else pkill -KILL -s "$!" -x dpkg; fi
status=0
wait "$!" || status=$?
while pgrep -s "$!" >/dev/null; do sleep 0.1; done
echo "$status"
"""
# The third letter of dpkg's status: killed from before the first file until after the last one of a package that it unpacks
# (half-configured, half-installed or already called unpacked), which it then wants to unpack again.
REINSTALL = "R"
# What dpkg may leave of a removal or a purge that was killed, when nobody but `dpkg --configure -a` comes after it: not begun,
# only marked, killed in or before a script, among the files, before the purge, or after all of it.
LEFT = {"remove": {"ii", "ri", "rF", "rH", "rc"}, "purge": {"ii", "pi", "pF", "pH", "pc", ""}}


@pytest.fixture
def dice(suite: str) -> random.Random:
    """Other moments in each run; PVEHOOKS_SEED has those of an earlier one again."""
    seed = os.environ.get("PVEHOOKS_SEED") or str(random.SystemRandom().randrange(10**6))
    print(f"PVEHOOKS_SEED={seed} repeats it")
    return random.Random(f"{seed} {suite}")


def took(node: Machine, command: str) -> float:
    """Runs a command; how long that took."""
    began = time.monotonic()
    node.sh(command)
    return time.monotonic() - began


class Killer:
    """Kills dpkg at work, at moments of its choice."""

    def __init__(self, node: Machine, dice: random.Random, longest: float) -> None:
        self._node, self._dice, self._longest = node, dice, longest
        self._hits = 0

    def numbers(self, times: int) -> Iterator[int]:
        """So many, and more until dpkg was at work half as often: that it had ended before is no interruption, and the next moments are earlier."""
        for number in range(4 * times):
            if number >= times and self._hits >= times // 2:
                return
            yield number
        raise AssertionError(f"dpkg was at work only {self._hits} times when it was killed")

    def run(self, command: str) -> None:
        """Runs dpkg, kills it at some moment, and has the rest done. Early moments are more likely: the scripts take long, the files do not."""
        pause = self._longest * self._dice.random() ** 2
        whole = self._dice.randint(0, 1)
        ended = self._node.sh(KILLED.format(command=command, pause=f"{pause:.3f}", whole=whole)).split()[-1]
        before = status(self._node)
        configured = self._node.run("dpkg", "--configure", "-a", check=False)
        assert configured.status == 0 or (before.endswith(REINSTALL) and "reinstall it before" in configured.err), configured
        print(f"{command}: killed after {pause:.3f} s, whole={whole}: ended with {ended}, {before!r}, then {status(self._node)!r}")
        if ended == "137":
            self._hits += 1
        else:
            self._longest = min(self._longest, pause)


def status(node: Machine) -> str:
    """As dpkg abbreviates it; nothing for a package that it does not know (any more)."""
    abbreviated = node.run("dpkg-query", "--show", "--showformat=${db:Status-Abbrev}", "pvehooks", check=False).out.strip()
    return "" if abbreviated == "un" else abbreviated


def lay(node: Machine, package: Path, name: str) -> str:
    (node.root / "srv" / name).write_bytes(package.read_bytes())
    return f"/srv/{name}"


def test_an_upgrade_killed_half_way(builds: Builds, make_node: MakeNode, dice: random.Random) -> None:
    node = make_node(builds.older)
    node.install()
    works(node, 100)
    conf = "[rng]\nmax_bytes = 512\n"
    node.run("sh", "-c", "cat >/etc/pvehooks/pvehooks.conf", stdin=conf)
    packages = [lay(node, builds.older, "older.deb"), lay(node, builds.deb, "newer.deb")]
    killer = Killer(node, dice, took(node, f"dpkg --force-confold --install {packages[1]}"))
    for number in killer.numbers(8):
        command = f"dpkg --force-confold --install {packages[number % 2]}"
        killer.run(command)
        left = status(node)
        assert left == "ii" or left.endswith(REINSTALL), left
        if left != "ii":
            node.sh(command)
        assert node.run("cat", "/etc/pvehooks/pvehooks.conf").out == conf
        works(node, 110 + number)
    assert "max_bytes=512" in node.read(117)


def test_an_installation_killed_half_way(builds: Builds, make_node: MakeNode, dice: random.Random) -> None:
    node = make_node()
    node.install()
    works(node, 100)
    command = f"dpkg --install {lay(node, builds.deb, 'it.deb')}"
    node.sh("dpkg --purge pvehooks")
    killer = Killer(node, dice, took(node, command))
    for number in killer.numbers(4):
        node.sh("dpkg --purge pvehooks")
        killer.run(command)
        node.sh(command)
        works(node, 110 + number)


@pytest.mark.parametrize("verb", LEFT)
def test_a_removal_killed_half_way(node: Machine, builds: Builds, dice: random.Random, verb: str) -> None:
    works(node, 100)
    install = f"dpkg --install {lay(node, builds.deb, 'it.deb')}"
    killer = Killer(node, dice, took(node, f"dpkg --{verb} pvehooks"))
    for number in killer.numbers(8):
        node.sh(install)
        works(node, 110 + number)
        guests = node.sh("cd /etc/pve/qemu-server && grep . *.conf")
        killer.run(f"dpkg --{verb} pvehooks")
        assert status(node) in LEFT[verb]
        # What PVE reads before a start.
        assert node.sh("cd /etc/pve/qemu-server && grep . *.conf") == guests and "rng0:" in node.run("qm", "config", str(110 + number)).out
        # The same command again finishes the job.
        node.sh(f"dpkg --{verb} pvehooks")
        assert status(node) == {"remove": "rc", "purge": ""}[verb]
        assert not node.active() and node.run("systemctl", "cat", "pvehooks", check=False).status != 0
        if verb == "purge":
            is_gone(node)
            assert node.run("test", "-e", "/etc/pve/pvehooks", check=False).status == 1
