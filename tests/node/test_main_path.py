"""A node from the installation to the purge, with the package of both ways of building it."""

from __future__ import annotations

import json
import re
import shutil
from functools import partial
from pathlib import Path

import pytest

from tests.daemon.bed import uefi
from tests.node.builds import Builds
from tests.node.conftest import MakeNode
from tests.node.machine import Machine, wait_until
from tests.node.trees import PROJECT

CONF = "/etc/pvehooks/pvehooks.conf"
NOTES = "/etc/pve/nodes/pve1/config"
# What a system changes by itself meanwhile, and what apt and dpkg keep of their own work.
NOISE = (
    r"^/(dev|proc|sys|job|srv|tmp)(/|$)|^/run/(systemd|udev|lock/bed-qm|lock/qemu-server|lock/pvenode.lock|log|dbus|user)(/|$)|^/var/(log|cache|tmp)(/|$)|"
    r"^/var/lib/(dpkg|apt|systemd/(catalog|timers|random-seed)|pve-cluster)(/|$)|^/etc/(ld.so.cache|.*~|apt)(/|$)|^/usr/share/keyrings|"
    r"^/etc/pve/(nodes/pve1/qemu-server/1|[.]version|local|qemu-server)"
)


@pytest.fixture(params=["deb", "stdeb"])
def new_node(request: pytest.FixtureRequest, builds: Builds, make_node: MakeNode) -> Machine:
    """A node without the package, with a repository that has it."""
    return make_node(getattr(builds, request.param))


def read_all(node: Machine, *vmids: int) -> dict[int, str]:
    return {vmid: node.read(vmid) for vmid in vmids}


def everything(machine: Machine) -> set[str]:
    """Every file there is, and every unit that systemd knows of."""
    files = machine.sh(f"find / -xdev -print; find /etc/pve /run -print 2>/dev/null | grep -vE '{NOISE}'", check=False)
    units = machine.sh("systemctl list-unit-files --no-legend pvehooks*; systemctl list-units --all --no-legend pvehooks*", check=False)
    return {line for line in files.splitlines() if not re.search(NOISE, line)} | {f"unit {line}" for line in units.splitlines()}


CHECK = "type first: pvehooks check"
AT_FIRST = [
    "UEFI VMs that are new or edited get an rng0 if they need one; VMs with passed-through devices are examined before they start.",
]


def words_of(output: str) -> list[str]:
    """What the package says in apt's output."""
    return [line.partition("pvehooks: ")[2] for line in output.split("\n") if line.startswith("pvehooks: ")]


def test_from_installation_to_purge(new_node: Machine) -> None:
    node = new_node
    node.write(102, uefi("old", old=True))
    # What is installed along with it stays when it is purged.
    node.install("python3-pyinotify python3-systemd python3-configobj python3-rich")
    before = everything(node)
    node.write(105, "name: lost\nhookscript: local:snippets/nowhere.sh\n")
    node.write(106, "name: plain\n")
    output = node.install()
    assert words_of(output) == [*AT_FIRST, f"{CHECK} (VMs of this node that would be refused a start today: 2 of 3)"]
    pid = node.wait_active()
    assert node.run("systemctl", "is-enabled", "pvehooks").out.strip() == "enabled"
    assert node.run("pvehooks", "--version").out.startswith("pvehooks ")
    is_given_rng0(node)
    is_in_the_journal(node)
    is_documented(node)
    is_in_the_notes(node)
    node.reboot()
    node.wait_active()
    assert node.entries("PVEHOOKS_EVENT=started")
    node.write(103, uefi("after-reboot"))
    node.wait_for_rng0(103)
    configs = read_all(node, 100, 101, 102, 103)
    node.apt("remove", "pvehooks")
    assert not node.active() and node.run("pgrep", "-f", "pvehooksd", check=False).status == 1
    assert read_all(node, *configs) == configs, "remove changes no guest"
    assert "rng0: source=/dev/urandom" in node.run("qm", "config", "100").out
    assert NOTES not in node.sh("find /etc/pve/nodes/pve1"), "the block in the notes has gone, and there was nothing else in them"
    assert node.run("test", "-e", CONF, check=False).status == 0, "remove keeps the settings"
    output = node.apt("purge", "pvehooks")
    assert "left: the rng0 of VMs" in output and output.count("pvehooks: left") == 1, output
    assert "not empty so not removed" not in output, output
    assert read_all(node, *configs) == configs, "purge changes no guest"
    assert everything(node) ^ before == set()
    assert node.run("systemctl", "--failed", "--no-legend").out == ""
    assert pid


def is_given_rng0(node: Machine) -> None:
    node.write(100, uefi("web"))
    node.wait_for_rng0(100)
    node.remote_write("nodes/pve1/qemu-server/101.conf", uefi("remote"))
    node.wait_for_rng0(101)
    assert "rng0" not in node.read(102), "what was there before is left alone"
    calls = [json.loads(line) for line in node.run("cat", "/run/lock/bed-qm/log.jsonl").out.splitlines()]
    given = [call["argv"][:2] for call in calls if call["event"] == "start" and call["argv"][0] == "set"]
    assert given == [["set", "100"], ["set", "101"]]
    assert not node.entries("PVEHOOKS_EVENT=writer-slow"), "PVE's own code wrote both"


def is_in_the_journal(node: Machine) -> None:
    shown = node.run("journalctl", "-x", "--no-pager", "-t", "pvehooksd", "PVEHOOKS_VMID=100").out
    assert "VM 100 (web): given rng0" in shown
    for words in ("░░ Subject: ", "rng0", "░░ Defined-By: pvehooks", "░░ Documentation: man:", "pvehooks undo 100"):
        assert words in shown, shown
    (entry,) = node.entries("PVEHOOKS_EVENT=injected", "PVEHOOKS_VMID=100")
    assert entry["_SYSTEMD_UNIT"] == "pvehooks.service" and entry["PVEHOOKS_NODE"] == "pve1"


def is_in_the_notes(node: Machine) -> None:
    """Written by PVE's own code, in the service's sandbox."""
    node.sh(f"printf '[gui]\\nnode_notes = yes\\n' >>{CONF} && systemctl reload pvehooks")
    wait_until(lambda: "VM 105 (lost) **" in node.sh(f"cat {NOTES}", check=False), "the node's notes name it", node.state)


def is_documented(node: Machine) -> None:
    for page in ("8 pvehooks", "8 pvehooksd", "5 pvehooks.conf", "7 pvehooks-rules"):
        assert "man." in node.run("man", "--where", *page.split()).out or node.run("man", "--where", *page.split()).out.strip()
    complete = "source /usr/share/bash-completion/bash_completion; _completion_loader pvehooks; complete -p pvehooks"
    assert "pvehooks" in node.run("bash", "-c", complete).out


def test_before_guests_are_started_at_boot(node: Machine) -> None:
    node.reboot()
    node.wait_active()
    times = {unit: int(node.show("ActiveEnterTimestampMonotonic", f"{unit}.service")) for unit in ("pve-cluster", "pvehooks", "pve-guests")}
    assert times["pve-cluster"] < times["pvehooks"] <= times["pve-guests"], times
    assert node.show("Before").split().count("pve-ha-lrm.service") == 1
    assert "pvehooks-bind.service" in node.show("Wants", "sysinit.target").split()


def test_upgrade(builds: Builds, make_node: MakeNode) -> None:
    node = make_node(builds.older)
    node.install()
    pid = node.wait_active()
    node.write(100, uefi())
    node.wait_for_rng0(100)
    node.sh(f"printf '[rng]\\nmax_bytes = 512\\n' >>{CONF}")
    mine = node.run("cat", CONF).out
    kept = node.sh("sha1sum /var/lib/pvehooks/backups/* /etc/pve/pvehooks/guests/*")
    node.offer(builds.repository(builds.older, builds.deb))
    node.apt("update")
    node.install("pvehooks", "-o Dpkg::Options::=--force-confold")
    assert node.wait_active() != pid
    assert len(node.entries("PVEHOOKS_EVENT=started")) == 2, "an upgrade restarts once"
    assert node.run("cat", CONF).out == mine and node.run("test", "-e", f"{CONF}.dpkg-dist").status == 0
    assert node.sh("sha1sum /var/lib/pvehooks/backups/* /etc/pve/pvehooks/guests/*") == kept
    node.write(101, uefi("after"))
    node.wait_for_rng0(101)
    assert "max_bytes=512" in node.read(101)
    # A disabled service stays disabled, a stopped one is not what an upgrade decides on.
    node.sh("systemctl disable pvehooks")
    node.install("pvehooks", "--reinstall")
    assert node.run("systemctl", "is-enabled", "pvehooks", check=False).out.strip() == "disabled"
    node.apt("purge", "pvehooks")
    assert node.sh("find /etc -name '*pvehooks*' -not -path '/etc/apt/*'") == ""


def test_an_unchanged_conffile_is_replaced_and_a_changed_one_kept(builds: Builds, make_node: MakeNode) -> None:
    node = make_node(builds.older)
    node.install()
    assert "older version" in node.run("cat", CONF).out
    node.offer(builds.repository(builds.older, builds.deb))
    node.apt("update")
    node.install()
    assert "older version" not in node.run("cat", CONF).out
    node.sh(f"printf '[rng]\\nmode = warn\\n' >{CONF}")
    (words,) = words_of(node.install("pvehooks", "--reinstall"))
    assert words.startswith(f"{CHECK} (VMs of this node that would be refused a start today: "), "an upgrade has no first words"
    assert node.run("cat", CONF).out == "[rng]\nmode = warn\n"


def test_on_a_debian_without_proxmox(make_node: MakeNode) -> None:
    node = make_node(proxmox=False)
    output = node.install()
    assert "pvehooks: " not in output
    node.wait_active()
    assert node.run("pvehooks", "check", check=False).status == 3
    output = node.apt("purge", "pvehooks")
    assert "pvehooks: " not in output
    assert node.run("test", "-e", "/etc/pve", check=False).status == 1


def test_the_package_of_debian_12_is_upgraded_on_the_next(builds: Builds, make_node: MakeNode, tmp_path: Path) -> None:
    """A node that goes from Proxmox VE 8 to 9 has what was built there; Debian 12's debhelper puts units below /lib."""
    earlier = Builds("bookworm", tmp_path)
    node = make_node(earlier.older)
    node.install()
    node.wait_active()
    node.offer(builds.repository(earlier.older, builds.deb))
    node.apt("update")
    node.install()
    node.wait_active()
    assert node.run("systemctl", "cat", "pvehooks").status == 0
    wait_until(lambda: len(node.entries("PVEHOOKS_EVENT=started")) == 2, "it was started twice")
    assert "not empty so not removed" not in node.apt("purge", "pvehooks")


def readmes_commands(first_words: str) -> list[str]:
    return [line.strip() for line in re.findall(rf"^    ((?:{first_words})\b ?[^#\n]*)", (PROJECT / "README.md").read_text(), re.MULTILINE)]


def test_the_readmes_repository(make_node: MakeNode) -> None:
    """Its commands as they stand, with an address in the first."""
    node = make_node()
    node.sh("rm /usr/share/keyrings/pvehooks.gpg /etc/apt/sources.list.d/pvehooks.sources; mkdir /srv/www; mv /srv/repo /srv/www/pvehooks")
    node.sh("sed -i 's,^URIs: .*,URIs: http://127.0.0.1/pvehooks,' /srv/www/pvehooks/pvehooks.sources")
    node.sh("systemd-run --quiet --unit=www python3 -m http.server --bind 127.0.0.1 --directory /srv/www 80")
    wait_until(lambda: node.run("wget", "-qO", "/dev/null", "http://127.0.0.1/pvehooks/", check=False).status == 0, "the web server")
    commands = readmes_commands("repo=|wget|apt")
    assert len(commands) == 4
    node.run("sh", "-ec", "\n".join(commands).replace("https://SERVER", "http://127.0.0.1"), stdin="y\n")
    node.wait_active()
    assert "http://127.0.0.1/pvehooks" in node.run("apt-cache", "policy", "pvehooks").out


def test_the_readmes_installation_from_a_checkout(make_node: MakeNode, builds: Builds) -> None:
    """What the package's build makes is there already: that has tests of its own. The rest is as it stands."""
    node = make_node()
    shutil.copytree(PROJECT / "scripts", node.root / "srv/checkout/scripts")
    (node.root / "srv/checkout/dist/deb").mkdir(parents=True)
    shutil.copy(builds.deb, node.root / "srv/checkout/dist/deb")
    (node.root / "srv/checkout/scripts/deb").write_text('test -d "$1"\n')
    (command,) = readmes_commands("sh scripts/install")
    printed = node.run("sh", "-ec", f"umask 077; cd /srv/checkout && {command} --yes").out
    node.wait_active()
    assert "apt install ./pvehooks_" in printed and "_apt" not in printed


def test_the_readmes_monitoring(make_node: MakeNode) -> None:
    """Each of its journalctl commands shows something once there is something of its kind."""
    node = make_node(members=("pve1", "pve2"))
    # The container has no bridge, which would be an error.
    node.write(102, uefi("old", old=True).replace(",bridge=vmbr0", ""))
    node.install()
    node.wait_active()
    node.write(100, uefi("web").replace(",bridge=vmbr0", ""))
    node.wait_for_rng0(100)
    commands = readmes_commands("journalctl")
    assert len(commands) > 7
    silent = [command for command in commands if "not-injected" in command or "pmxcfs-away" in command or "-p err" in command]
    assert len(silent) == 3
    for command in commands:
        assert shown(node, command) == (command not in silent), command
    node.sh("systemctl mask --runtime pve-cluster; systemctl stop pve-cluster; systemctl start pvehooks")
    wait_until(lambda: node.entries("PVEHOOKS_EVENT=pmxcfs-away"), "it misses pmxcfs", node.state)
    node.sh("systemctl unmask --runtime pve-cluster; systemctl start pve-cluster")
    node.wait_active()
    node.run("sh", "-c", "cat >/run/lock/bed-qm/misbehaviour.json", stdin='[{"do": "lie", "verb": "set", "vmid": "101"}]')
    node.write(101, uefi("lied-to"))
    node.sh(f"printf '[rng]\\nmax_bites = 1\\n' >{CONF}; systemctl reload pvehooks")
    for command in silent:
        wait_until(partial(shown, node, command), command, node.state)


def shown(node: Machine, command: str) -> bool:
    """Whether a journalctl command shows an entry; one that follows is ended."""
    node.run("journalctl", "--sync")
    follows = " -f " in command
    done = node.run("sh", "-c", f"{'timeout 5 ' * follows}{command} --no-pager --quiet", check=False)
    assert done.status == (124 if follows else 0), done
    return "pvehooksd" in done.out
