"""`pvehooks host fix` where commands are run: a tree as the root of a process of its own, with stand-ins for what refreshes the boot loader.

The file of GRUB is read there by a real sh behind its walls.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.actions.host.bed import snapshot
from tests.beds import boot, pci
from tests.beds.journald import Journald
from tests.beds.process import kill_on_failure
from tests.beds.tree import Content, Link, make_fake_tree
from tests.lint.source import PROJECT

BUS = "0000:01:00.0 class=030000 id=10de:2204 driver=nouveau group=14\n"
# Notes what it was called with; update-grub does what grub-mkconfig does, as far as arguments go.
NOTE = '#!/bin/sh\necho "${0##*/} $*" >> /var/called\n'
STAND_INS = {
    "update-grub": NOTE
    + '. /etc/default/grub\nfor f in /etc/default/grub.d/*.cfg; do [ ! -e "$f" ] || . "$f"; done\n'
    + 'line="$(sed "s/.*\\(root=[^ ]*\\).*/\\1/" /proc/cmdline) $GRUB_CMDLINE_LINUX $GRUB_CMDLINE_LINUX_DEFAULT"\n'
    + 'printf "menuentry \'x\' {\\n\\tlinux\\t/boot/vmlinuz-6.8.12-4-pve %s\\n}\\n" "$line" > /boot/grub/grub.cfg\n',
    "proxmox-boot-tool": NOTE,
    "update-initramfs": NOTE + "touch -d '2 hours' /boot/initrd.img-*\n",
}
LIBRARIES = f"lib/{os.uname().machine}-linux-gnu"
# Seen by the one process only, and never writable.
ENTER = f"""
root=$1 project=$2 bytecode=$3
shift 3
mount --bind "$root" "$root" || exit 99
# /tmp may be mounted nodev, as in containers and on Debian 13.
mount --bind /dev/null "$root/dev/null" || exit 99
for name in usr/bin usr/lib lib64 {LIBRARIES}; do mount --bind -o ro "/$name" "$root/$name" || exit 99; done
mkdir -p "$root$project" "$root$bytecode" || exit 99
mount --bind -o ro "$project" "$root$project" || exit 99
[ -z "$bytecode" ] || mount --bind "$bytecode" "$root$bytecode" || exit 99
[ ! -e /run/systemd/journal/socket ] || mount --bind /run/systemd/journal "$root/run/systemd/journal" || exit 99
exec chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin PYTHONPATH="$project" PYTHONPYCACHEPREFIX="$bytecode" /usr/bin/python3 -m pvehooks "$@"
"""


class Node:
    """A tree as a node's root."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def command(self, *arguments: str) -> list[str]:
        verb = ["host"] if arguments[0] in ("check", "fix", "undo") else []
        return ["unshare", "--mount", "sh", "-c", ENTER, "sh", str(self.root), str(PROJECT), sys.pycache_prefix or "", *verb, *arguments]

    def run(self, *arguments: str, status: int = 0) -> str:
        done = subprocess.run(self.command(*arguments), capture_output=True, text=True, timeout=60, check=False)
        output = done.stdout + done.stderr
        assert done.returncode == status, output
        assert "Traceback" not in output
        return output

    def called(self) -> list[str]:
        path = self.root / "var/called"
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return lines


Make = Callable[..., Node]


@pytest.fixture
def node(tmp_path: Path) -> Make:
    """Makes a node of what tests/beds/boot.py plants, and more files."""

    def make(text: str, files: dict[str, Content]) -> Node:
        more: dict[str, Content] = {"bin": Link("usr/bin"), "tmp": None, "dev": None, "usr/sbin": None}
        more["run/systemd/journal"] = None
        more |= dict.fromkeys(("usr/bin", "usr/lib", "lib64", LIBRARIES))
        root = make_fake_tree(tmp_path / "node", {**boot.plant(text), **pci.plant(BUS), **more, **files})
        for name, script in STAND_INS.items():
            (root / "usr/sbin" / name).write_text(script)
            (root / "usr/sbin" / name).chmod(0o755)
        os.mknod(root / "dev/null", 0o20666, os.makedev(1, 3))
        (root / "dev/null").chmod(0o666)
        return Node(root)

    return make


def state(node: Node) -> dict[str, tuple[object, ...]]:
    """What is the administrator's."""
    return {name: seen for name, seen in snapshot(node.root).items() if name.startswith("etc/")}


def test_grub_from_plan_to_undo(node: Make) -> None:
    """The whole way: sh reads the file, update-grub is run, the result is read back; then all of it back."""
    it = node("plan: quiet\nkernel: 6.8.12-4-pve\nloader: grub\n", {"sys/kernel/iommu_groups/14/type": "DMA\n"})
    path = it.root / "etc/default/grub"
    path.write_text(path.read_text() + 'GRUB_BACKGROUND="/x" # a picture\n')
    path.chmod(0o640)
    before = state(it)
    assert "optional: pvehooks host fix iommu-translates-host" in it.run("fix", "--plan")
    assert it.called() == [] and state(it) == before
    reported = it.run("fix", "iommu-translates-host", "--apply")
    assert it.called() == ["update-grub "]
    assert "running: update-grub\n" in reported
    assert "the restart will show whether this was all" in reported
    assert "a reboot is due: reboot" in reported
    assert 'GRUB_CMDLINE_LINUX_DEFAULT="quiet iommu=pt"' in path.read_text()
    assert "quiet iommu=pt" in (it.root / "boot/grub/grub.cfg").read_text()
    assert "cmdline-not-refreshed" not in it.run("check")
    # The menu is right, so nothing is run again.
    it.run("fix", "iommu-translates-host", "--apply")
    assert it.called() == []
    assert "/etc/default/grub is restored to its state before the fix of iommu-translates-host\n" in it.run("undo")
    assert it.called() == ["update-grub "]
    assert state(it) == before
    assert "iommu=pt" not in (it.root / "boot/grub/grub.cfg").read_text()


def test_a_file_that_only_sh_understands(node: Make) -> None:
    """A snippet with shell code is read by sh behind its walls; the file itself must be plain."""
    snippet = '[ ! -e /nosuch ] && GRUB_CMDLINE_LINUX_DEFAULT="$GRUB_CMDLINE_LINUX_DEFAULT crashkernel=1G"\n'
    it = node("plan: quiet\n", {"etc/default/grub.d/x.cfg": snippet, "sys/kernel/iommu_groups/14/type": "DMA\n"})
    it.run("fix", "iommu-translates-host", "--apply")
    assert "quiet iommu=pt crashkernel=1G" in (it.root / "boot/grub/grub.cfg").read_text()
    (it.root / "etc/default/grub.d/x.cfg").write_text('for a in b; do GRUB_CMDLINE_LINUX_DEFAULT="quiet"; done\n')
    it.run("undo")
    before = state(it)
    assert "a file of /etc/default/grub.d changes the arguments as well" in it.run("fix", "iommu-translates-host", "--apply", status=1)
    assert state(it) == before


def test_systemd_boot_and_the_initramfs(node: Make) -> None:
    """In this order: what is refreshed has the new initramfs."""
    it = node(
        "loader: systemd-boot\nplan: quiet amd_iommu=on\n",
        {"etc/modprobe.d/i.conf": "options vfio_iommu_type1 allow_unsafe_interrupts=1\n"},
    )
    before = state(it)
    reported = it.run("fix", "advice-void", "--apply")
    assert it.called() == ["update-initramfs -u -k all", "proxmox-boot-tool refresh"]
    assert "advice-void (allow_unsafe_interrupts): it is gone" in reported
    assert "advice-void (amd_iommu=on): it goes with the restart" in reported
    assert (it.root / "etc/kernel/cmdline").read_text() == "root=ZFS=rpool/ROOT/pve-1 boot=zfs quiet\n"
    it.run("undo")
    assert it.called() == ["update-initramfs -u -k all", "proxmox-boot-tool refresh"]
    assert state(it) == before


@pytest.mark.parametrize(
    ("script", "reported"),
    [
        (NOTE + "echo no space left >&2; exit 28\n", "update-grub ended with 28\npvehooks: no space left"),
        (NOTE + "kill -9 $$\n", "update-grub ended with -9"),
        ("", "update-grub cannot be run"),
        (NOTE, "cmdline-not-refreshed (/etc/default/grub): it is still there"),
    ],
)
def test_a_command_that_fails(script: str, reported: str, node: Make) -> None:
    """Said with what to type; the files stay until they are put back. One that does nothing is found out by reading back."""
    it = node("plan: quiet\n", {"sys/kernel/iommu_groups/14/type": "DMA\n"})
    before = state(it)
    stand_in = it.root / "usr/sbin/update-grub"
    stand_in.write_text(script)
    stand_in.chmod(0o755 if script else 0o644)
    output = it.run("fix", "iommu-translates-host", "--apply", status=1)
    assert reported in output
    if script != NOTE:
        assert "type: update-grub; or go back: pvehooks host undo" in output
    assert state(it) != before
    stand_in.write_text(STAND_INS["update-grub"])
    stand_in.chmod(0o755)
    it.run("undo")
    assert state(it) == before


# -- broken off -------------------------------------------------------------------------------------------------------

FIXED = "advice-void"
TWO_COMMANDS: dict[str, Content] = {"etc/modprobe.d/i.conf": "options vfio_iommu_type1 allow_unsafe_interrupts=1\n"}


def make_two_commands(node: Make) -> Node:
    return node("loader: systemd-boot\nplan: quiet amd_iommu=on\n", dict(TWO_COMMANDS))


def manifest(node: Node) -> str:
    (path,) = (node.root / "var/lib/pvehooks/host").glob("*/manifest.json")
    return str(json.loads(path.read_text())["state"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_wait_until_all_is_done(number: signal.Signals, node: Make) -> None:
    """Half of a boot loader's refresh is worse than a moment's patience."""
    it = make_two_commands(node)
    stand_in = it.root / "usr/sbin/update-initramfs"
    stand_in.write_text(f"#!/bin/sh\nkill -{number.value} $PPID\nsleep 0.3\n" + STAND_INS["update-initramfs"].removeprefix("#!/bin/sh\n"))
    done = subprocess.run(it.command("fix", FIXED, "--apply"), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == (130 if number is signal.SIGINT else -number), done.stderr
    assert it.called() == ["update-initramfs -u -k all", "proxmox-boot-tool refresh"]
    assert manifest(it) == "done"


def test_a_reader_who_goes_away_stops_nothing(node: Make) -> None:
    """What is under way is done to its end, as after `| head -3` or a lost terminal."""
    it = make_two_commands(node)
    stand_in = it.root / "usr/sbin/update-initramfs"
    stand_in.write_text("#!/bin/sh\nsleep 0.5\n" + STAND_INS["update-initramfs"].removeprefix("#!/bin/sh\n"))
    with kill_on_failure(
        subprocess.Popen(it.command("fix", FIXED, "--apply"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    ) as process:
        assert process.stdout is not None
        while not process.stdout.readline().startswith("running: update-initramfs"):
            pass
        process.stdout.close()
        process.wait(120)
    assert it.called() == ["update-initramfs -u -k all", "proxmox-boot-tool refresh"]
    assert manifest(it) == "done"


def test_without_a_reader_nothing_is_begun(node: Make) -> None:
    it = make_two_commands(node)
    before = state(it)
    reading, writing = os.pipe()
    os.close(reading)
    subprocess.run(it.command("fix", FIXED, "--apply"), stdout=writing, stderr=subprocess.DEVNULL, timeout=60, check=False)
    os.close(writing)
    assert it.called() == [] and state(it) == before


# -- the journal ------------------------------------------------------------------------------------------------------


def test_the_journal_has_what_was_done(node: Make) -> None:
    it = node("plan: quiet\n", {"sys/kernel/iommu_groups/14/type": "DMA\n"})
    with Journald() as journald:
        it.run("fix", "iommu-translates-host", "--plan")
        it.run("fix", "iommu-translates-host", "--apply")
        it.run("fix", "iommu-translates-host", "--apply")
        it.run("undo")
        it.run("undo")
        (it.root / "usr/sbin/update-grub").write_text(NOTE + "echo no space left >&2; exit 28\n")
        it.run("fix", "iommu-translates-host", "--apply", status=1)
        fixed, undone, broken = journald.entries("SYSLOG_IDENTIFIER=pvehooks")
    assert fixed["PVEHOOKS_EVENT"] == "host-fixed" and undone["PVEHOOKS_EVENT"] == "host-fix-undone"
    for entry in (fixed, undone):
        assert entry["PVEHOOKS_FILES"] == "/etc/default/grub" and entry["PVEHOOKS_COMMANDS"] == "update-grub"
        assert entry["PVEHOOKS_NODE"] == "pve1" and entry["PVEHOOKS_RULE"] == "iommu-translates-host"
        assert entry["PVEHOOKS_BY"] == "user 0" and entry["MESSAGE"].endswith("(asked for by user 0)")
    assert "changed /etc/default/grub, ran update-grub; copies of the files before: /var/lib/pvehooks/host/2" in fixed["MESSAGE"]
    assert fixed["MESSAGE"].split(": ")[-1].startswith(fixed["PVEHOOKS_BACKUP"])
    assert broken["PVEHOOKS_EVENT"] == "host-not-fixed" and broken["PRIORITY"] == "3"
    assert "update-grub ended with 28; no space left" in broken["MESSAGE"] and "pvehooks host undo" in broken["MESSAGE"]


def test_the_journal_has_what_was_bound(node: Make) -> None:
    it = node("plan: quiet\n", {})
    with Journald() as journald:
        for words in (["bind", "01:00", "--persist"], ["bind", "01:00", "--persist"], ["bind", "--list"], ["unbind", "01:00", "--persist"]):
            it.run(*words)
        entries = journald.entries("SYSLOG_IDENTIFIER=pvehooks")
    assert [(entry["PVEHOOKS_EVENT"], entry["PVEHOOKS_DEVICE"]) for entry in entries] == [("binding-changed", "0000:01:00.0")] * 2
    given, taken = (entry["MESSAGE"] for entry in entries)
    assert given.startswith("bind: 0000:01:00.0 (graphics card [10de:2204]): is given to vfio-pci at every boot from the next one on")
    assert taken.startswith("unbind: 0000:01:00.0 (graphics card [10de:2204]): nothing is recorded for boot any more")
    assert all(message.endswith("(asked for by user 0)") for message in (given, taken))
