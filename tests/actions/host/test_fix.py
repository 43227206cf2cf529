"""Fixes of the node: what is refused, what happens when somebody edits or the program is killed between any two steps."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from pvehooks.actions.host import apply as fixing
from pvehooks.actions.host import history
from pvehooks.actions.host.plan import Plan, plan
from pvehooks.actions.host.preview import Preview
from pvehooks.actions.host.result import FixResult, results
from pvehooks.errors import ActionFailed, Refused
from pvehooks.facts import hardware
from pvehooks.host import Host
from pvehooks.rules import of_node
from tests.actions.host.bed import grub_arguments, snapshot
from tests.beds import boot, pci
from tests.beds.forked import forked
from tests.beds.tree import Content, Link, make_fake_tree

BUS = "0000:01:00.0 class=030000 id=10de:2204 driver=nouveau nogroup=14\n"
OLD = "kernel: 6.5.13-6-pve\n"
CONFIG = {"boot/config-6.5.13-6-pve": "CONFIG_INTEL_IOMMU=y\n"}


def tree(directory: Path, text: str = "plan: quiet\n", **files: Content) -> Host:
    """A node that needs intel_iommu=on."""
    given = {name.replace("__", "/"): content for name, content in files.items()}
    planted = {**boot.plant(OLD + text), **pci.plant(BUS), **CONFIG, **given}
    # A link cannot be made where a file is.
    return Host(str(make_fake_tree(directory, planted)))


def planned(host: Host, *asked: str) -> Plan:
    return plan(host, hardware.gather(host, "pve1"), of_node.findings_of_node, asked)


def why(host: Host, rule: str = "iommu-inactive") -> str:
    """Why it is not touched."""
    made = planned(host, rule)
    assert made.empty, made
    (item,) = made.items
    assert item.by_hand
    return item.words


def fix(host: Host, *asked: str) -> fixing.AppliedFix:
    return fixing.apply(host, planned(host, *asked), lambda _: None)


def root(host: Host) -> Path:
    return Path(host.root)


GRUB = 'GRUB_DEFAULT=0\nGRUB_CMDLINE_LINUX_DEFAULT="quiet"\nGRUB_CMDLINE_LINUX=""\n'


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"etc/default/grub.real": GRUB, "etc/default/grub": Link("grub.real")}, "is a symbolic link"),
        ({"etc/default/grub": f'{GRUB}if [ -e /x ]; then GRUB_CMDLINE_LINUX_DEFAULT="x"; fi\n'}, "only a shell knows"),
        ({"etc/default/grub": GRUB.replace('"quiet"', "`cat /proc/cmdline`")}, "only a shell knows"),
        ({"etc/default/grub": GRUB + GRUB}, "lines 2, 5 all name"),
        (
            {"etc/default/grub.d/x.cfg": 'GRUB_CMDLINE_LINUX_DEFAULT="mine"\n'},
            "a file of /etc/default/grub.d changes the arguments as well",
        ),
        ({"etc/default/grub.d/x.cfg": "if true; then A=b; fi\n"}, "only a shell knows"),
        ({"etc/default/grub": GRUB.replace("\n", "\r\n")}, "line 1: it ends as lines of Windows do"),
        ({"etc/default/grub": "GRUB_DEFAULT=0\n"}, "does not set GRUB_CMDLINE_LINUX_DEFAULT"),
        ({"var/lib/dpkg/info/mine.list": "/.\n/etc/default/grub\n"}, "belongs to the package mine"),
        ({"etc/default/grub": GRUB + "#" * (1 << 16)}, "too long"),
    ],
)
def test_what_is_not_touched(files: dict[str, Content], expected: str, tmp_path: Path) -> None:
    planted = {**boot.plant(f"{OLD}plan: quiet\n"), **pci.plant(BUS), **CONFIG, **files}
    host = Host(str(make_fake_tree(tmp_path / "tree", planted)))
    before = snapshot(root(host))
    assert expected in why(host)
    assert fix(host, "iommu-inactive") == fixing.AppliedFix("", (), (), ())
    assert snapshot(root(host)) == before


def test_a_conffile_is_the_administrators(tmp_path: Path) -> None:
    host = tree(
        tmp_path, **{"var/lib/dpkg/info/mine.list": "/etc/default/grub\n", "var/lib/dpkg/info/mine.conffiles": "/etc/default/grub\n"}
    )
    assert fix(host, "iommu-inactive").files == ("/etc/default/grub",)


def test_hard_links_and_a_link_on_the_way(tmp_path: Path) -> None:
    host = tree(tmp_path)
    (root(host) / "etc/default/twin").hardlink_to(root(host) / "etc/default/grub")
    assert "several names" in why(host)
    (root(host) / "etc/default/twin").unlink()
    (root(host) / "etc/default").rename(root(host) / "etc/defaults")
    (root(host) / "etc/default").symlink_to("defaults")
    assert "lies behind one: /etc/defaults/grub" in why(host)


def test_snippets_that_add_are_fine(tmp_path: Path) -> None:
    host = tree(tmp_path, **{"etc/default/grub.d/x.cfg": 'GRUB_CMDLINE_LINUX_DEFAULT="$GRUB_CMDLINE_LINUX_DEFAULT crashkernel=256M"\n'})
    fix(host, "iommu-inactive")
    assert grub_arguments(root(host)).split() == ["quiet", "intel_iommu=on", "crashkernel=256M"]


def test_an_argument_in_another_place(tmp_path: Path) -> None:
    """GRUB_CMDLINE_LINUX is as good; a snippet is not ours to understand."""
    host = tree(tmp_path, "plan: quiet\nrunning: quiet iommu=off\n")
    path = root(host) / "etc/default/grub"
    path.write_text(path.read_text().replace('LINUX=""', 'LINUX="a=b iommu=off,strict"'))
    fix(host, "iommu-inactive")
    assert grub_arguments(root(host)).split() == ["a=b", "iommu=strict", "quiet"]
    (root(host) / "etc/default/grub.d").mkdir()
    (root(host) / "etc/default/grub.d/x.cfg").write_text('GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX iommu=off"\n')
    assert "a file of /etc/default/grub.d" in why(host)


def test_an_unknown_boot_loader(tmp_path: Path) -> None:
    host = tree(tmp_path, "loader: systemd-boot\nplan: quiet\nrunning: quiet\n")
    (root(host) / "etc/kernel/proxmox-boot-uuids").unlink()
    assert "not kept by proxmox-boot-tool" in why(host)
    (root(host) / "proc/cmdline").write_text("root=/dev/sda2 quiet\n")
    assert "is unknown" in why(host)


def test_modules_are_ours_to_list(tmp_path: Path) -> None:
    """In a file of our own where there is a place for it."""
    host = tree(tmp_path, **{"etc/modprobe.d/v.conf": "options vfio-pci ids=10de:2204\n", "etc/modules-load.d": None})
    before = snapshot(root(host))
    done = fix(host, "vfio-not-loaded-at-boot")
    assert done.files == ("/etc/modules-load.d/pvehooks.conf",)
    assert (root(host) / done.files[0][1:]).read_text().splitlines()[1:] == ["vfio_pci"]
    assert (root(host) / done.files[0][1:]).stat().st_mode & 0o777 == 0o644
    assert done.left_to_admin == (("update-initramfs", "-u", "-k", "all"),)
    fixing.undo(host, False, lambda _: None)
    assert snapshot(root(host)) == before


def test_modprobe_files_outside_of_etc(tmp_path: Path) -> None:
    disk = "0000:02:00.0 class=010802 id=144d:a808 driver=nvme group=15 disk=nvme0n1/259:0/S1 part=nvme0n1p1/259:1\n"
    mounts = {
        "proc/self/mountinfo": "22 1 259:1 / / rw shared:1 - ext4 /dev/nvme0n1p1 rw\n",
        "proc/mounts": "/dev/nvme0n1p1 / ext4 rw 0 0\n",
    }
    planted = {**boot.plant(""), **pci.plant(disk), **mounts, "usr/lib/modprobe.d/x.conf": "blacklist nvme\n"}
    host = Host(str(make_fake_tree(tmp_path, planted)))
    assert "/usr/lib/modprobe.d/x.conf is not a file of /etc" in why(host, "host-driver-blacklisted")


SNIPPET = 'GRUB_DEFAULT="gnulinux-advanced-ab12>gnulinux-6.5.13-6-pve-advanced-ab12"\n'


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"etc/kernel/next-boot-pin": "6.8.12-4-pve\n"}, "/etc/kernel/next-boot-pin pins a kernel as well"),
        ({"etc/default/grub.d/proxmox-kernel-pin.cfg": f"{SNIPPET}GRUB_TIMEOUT=3\n"}, "is not as proxmox-boot-tool writes it"),
        ({"etc/kernel/proxmox-boot-pin": Link("pin"), "etc/kernel/pin": "6.5.13-6-pve\n"}, "is a symbolic link"),
    ],
)
def test_pins_that_stay(files: dict[str, Content], expected: str, tmp_path: Path) -> None:
    """What is not as proxmox-boot-tool leaves it is for a person."""
    own: dict[str, Content] = {"etc/kernel/proxmox-boot-pin": "6.5.13-6-pve\n", "etc/default/grub.d/proxmox-kernel-pin.cfg": SNIPPET}
    host = Host(str(make_fake_tree(tmp_path, {**boot.plant(""), **own, **files})))
    before = snapshot(root(host))
    assert expected in why(host, "kernel-pin-missing")
    assert fix(host, "kernel-pin-missing").files == () and snapshot(root(host)) == before


def test_a_name_that_is_given_already(tmp_path: Path) -> None:
    card = "0000:03:00.0 class=020000 id=8086:1533 driver=igb group=16 net=enp5s0\n"
    device: dict[str, Content] = {"sys/devices/pci0000:00/0000:03:00.0/net/enp5s0/device": Link("../../../0000:03:00.0")}
    bridge: dict[str, Content] = {"etc/network/interfaces": "iface vmbr0 inet static\n\tbridge-ports enp4s0\n"}
    for number, text in enumerate(("[Match]\nMACAddress=52:54:00:00:00:01\n[Link]\nName=lan0\n", "[Link]\nName = enp4s0\n")):
        link: dict[str, Content] = {"etc/systemd/network/50-x.link": text}
        planted = {**boot.plant(""), **pci.plant(card), **device, **bridge, **link}
        host = Host(str(make_fake_tree(tmp_path / str(number), planted)))
        assert "/etc/systemd/network/50-x.link has enp4s0 or 52:54:00:00:00:01 already" in why(host, "interface-missing")


def test_wrong_file_with_another_value(tmp_path: Path) -> None:
    host = tree(
        tmp_path, "loader: systemd-boot\nplan: quiet iommu=soft\n", **{"etc/default/grub": 'GRUB_CMDLINE_LINUX_DEFAULT="iommu=pt"\n'}
    )
    assert "has iommu=soft already" in why(host, "cmdline-wrong-file")


def test_mode_and_owner_stay(tmp_path: Path) -> None:
    """Whatever the umask, after the fix and after its undoing."""
    host = tree(tmp_path)
    path = root(host) / "etc/default/grub"
    path.chmod(0o664)
    os.chown(path, 4711, 4712)
    former = os.umask(0o077)
    try:
        for change in (lambda: fix(host, "iommu-inactive"), lambda: fixing.undo(host, False, lambda _: None)):
            before = path.read_bytes()
            change()
            found = path.stat()
            assert path.read_bytes() != before
            assert (found.st_mode & 0o7777, found.st_uid, found.st_gid) == (0o664, 4711, 4712)
    finally:
        os.umask(former)


def test_a_preview_of_the_files(tmp_path: Path) -> None:
    host = Preview(tree(tmp_path, **{"etc/modules-load.d/a.conf": ""}), {"/etc/modules-load.d/b.conf": b"vfio_pci\n"})
    assert host.names("/etc/modules-load.d") == ["a.conf", "b.conf"]
    assert ("vfio_pci", "/etc/modules-load.d/b.conf") in hardware.gather(host, "pve1").modules.listed  # type: ignore[union-attr]


# -- trouble ----------------------------------------------------------------------------------------------------------


def test_an_edit_between_plan_and_fix(tmp_path: Path) -> None:
    host = tree(tmp_path)
    made = planned(host, "iommu-inactive")
    path = root(host) / "etc/default/grub"
    path.write_text(path.read_text() + "# mine\n")
    before = snapshot(root(host))
    with pytest.raises(ActionFailed, match="was changed by another process"):
        fixing.apply(host, made, lambda _: None)
    assert snapshot(root(host)) == before


def test_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = tree(tmp_path)
    monkeypatch.setattr(history, "LOCK_SECONDS", 0.05)
    with host.lock(history.LOCK, 1), pytest.raises(ActionFailed, match="another host fix"):
        fix(host, "iommu-inactive")


def both(host: Host) -> Plan:
    """A plan with two files."""
    (root(host) / "etc/modules").write_text("vfio_virqfd\n")
    made = planned(host, "iommu-inactive", "advice-void")
    assert [change.path for change in made.changes] == ["/etc/default/grub", "/etc/modules"]
    return made


class Stubborn(Host):
    """A file of it cannot be written."""

    def replace(self, path: str, *arguments: object, **named: object) -> None:
        if path == "/etc/modules":
            raise OSError(30, "Read-only file system", path)
        super().replace(path, *arguments, **named)  # type: ignore[arg-type]


def test_a_second_file_that_cannot_be_written(tmp_path: Path) -> None:
    """The first is put back."""
    host = tree(tmp_path)
    made = both(host)
    before = snapshot(root(host))
    with pytest.raises(ActionFailed, match="/etc/modules cannot be written: Read-only file system"):
        fixing.apply(Stubborn(host.root), made, lambda _: None)
    assert snapshot(root(host)) == before
    assert fixing.undo(host, False, lambda _: None) is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"version": 2}', '{"version": 1, "state": "done", "files": 3}'])
def test_a_manifest_that_cannot_be_used(content: str, tmp_path: Path) -> None:
    host = tree(tmp_path)
    done = fix(host, "iommu-inactive")
    after = snapshot(root(host))
    (root(host) / done.copies_dir[1:] / "manifest.json").write_text(content)
    with pytest.raises(ActionFailed, match=r"manifest.json cannot be used") as caught:
        fixing.undo(host, True, lambda _: None)
    assert done.copies_dir in caught.value.hint
    assert snapshot(root(host)) == after


def test_a_copy_that_was_changed(tmp_path: Path) -> None:
    host = tree(tmp_path)
    done = fix(host, "iommu-inactive")
    (root(host) / done.copies_dir[1:] / "0.before").write_text("GRUB_TIMEOUT=0\n")
    with pytest.raises(ActionFailed, match="a copy is not as it was written"):
        fixing.undo(host, True, lambda _: None)


def test_copies_are_roots(tmp_path: Path) -> None:
    host = tree(tmp_path)
    place = root(host) / fix(host, "iommu-inactive").copies_dir[1:]
    assert place.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in place.iterdir()} == {0o600}


def test_undo_refuses_a_link(tmp_path: Path) -> None:
    host = tree(tmp_path)
    fix(host, "iommu-inactive")
    path = root(host) / "etc/default/grub"
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")
    with pytest.raises(Refused, match="symbolic link"):
        fixing.undo(host, True, lambda _: None)


def test_a_clock_that_went_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last fix is the last one all the same."""
    host = tree(tmp_path)
    (root(host) / "etc/modules").write_text("vfio_virqfd\n")
    fix(host, "advice-void")
    monkeypatch.setattr(Host, "now", lambda _: 1_000_000_000.0)
    between = snapshot(root(host))
    fix(host, "iommu-inactive")
    fixing.undo(host, False, lambda _: None)
    assert snapshot(root(host)) == between


def test_still_there_is_reported(tmp_path: Path) -> None:
    """A fresh look decides, not what was meant."""
    host = tree(tmp_path)
    (root(host) / "etc/modules").write_text("vfio_virqfd\n")
    made = planned(host, "advice-void")
    (outcome,) = results(host, "pve1", made, fixing.AppliedFix("", (), (), ()))
    assert outcome.result == FixResult.STILL_THERE
    fixing.apply(host, made, lambda _: None)
    assert [each.result for each in results(host, "pve1", made, fixing.AppliedFix("", (), (), ()))] == [FixResult.GONE]


# -- killed between any two steps -------------------------------------------------------------------------------------


class Killed(Host):
    """Is killed before the step of this number; each write has two: beside the file, and its renaming."""

    def __init__(self, root: str, at: int) -> None:
        super().__init__(root)
        self.left = at

    def step(self) -> None:
        if not self.left:
            os.kill(os.getpid(), signal.SIGKILL)
        self.left -= 1

    def make_dir(self, path: str, mode: int = 0o755, durable: bool = False) -> None:
        self.step()
        super().make_dir(path, mode, durable)

    def replace(self, path: str, content: bytes, *arguments: object, **named: object) -> None:
        self.step()
        if not self.left:
            Path(f"{self.locate(path)}.tmp.{os.getpid()}").write_bytes(content[: len(content) // 2])
        self.step()
        super().replace(path, content, *arguments, **named)  # type: ignore[arg-type]

    def remove(self, path: str, durable: bool = False) -> None:
        self.step()
        super().remove(path, durable)


def killed(change: Callable[[], object]) -> bool:
    """Whether it was killed; False where it came to its end."""
    code = forked(change)
    assert code <= 0
    return code < 0


def etc(host: Host) -> dict[str, tuple[object, ...]]:
    """But for what a killed program has left beside the files."""
    return {name: seen for name, seen in snapshot(root(host)).items() if ".tmp." not in name}


def test_killed_while_it_fixes(tmp_path: Path) -> None:
    """Each file is old or new; undo understands what is there, and leaves nothing behind."""
    steps = 0
    while True:
        host = tree(tmp_path / str(steps))
        made = both(host)
        before = snapshot(root(host))
        old = {change.path: change.before for change in made.changes}
        new = {change.path: change.after for change in made.changes}
        at = steps
        if not killed(lambda host=host, made=made, at=at: fixing.apply(Killed(host.root, at), made, lambda _: None)):
            break
        for path in old:
            assert host.read(path) in (old[path], new[path])
        changed = any(host.read(path) != old[path] for path in old)
        undone = fixing.undo(host, False, lambda _: None)
        assert undone is not None or not changed
        assert (undone is not None and bool(undone.left_to_admin)) == changed
        assert snapshot(root(host)) == before, steps
        assert fixing.undo(host, False, lambda _: None) is None
        steps += 1
    assert steps > 12


def test_killed_and_fixed_again(tmp_path: Path) -> None:
    """Without undo in between: the second fix ends as one that was not killed, and clears up."""
    whole = tree(tmp_path / "whole")
    fixing.apply(whole, both(whole), lambda _: None)
    steps = 0
    while True:
        host = tree(tmp_path / str(steps))
        made = both(host)
        at = steps
        if not killed(lambda host=host, made=made, at=at: fixing.apply(Killed(host.root, at), made, lambda _: None)):
            break
        again = planned(host, "iommu-inactive", "advice-void")
        fixing.apply(host, again, lambda _: None)
        assert etc(host) == etc(whole)
        if again.changes:
            assert snapshot(root(host)) == snapshot(root(whole)), steps
        steps += 1
    assert steps > 12


def test_killed_while_it_undoes(tmp_path: Path) -> None:
    steps = 0
    while True:
        host = tree(tmp_path / str(steps))
        made = both(host)
        before = snapshot(root(host))
        fixing.apply(host, made, lambda _: None)
        at = steps
        if not killed(lambda host=host, at=at: fixing.undo(Killed(host.root, at), False, lambda _: None)):
            assert snapshot(root(host)) == before
            break
        again = fixing.undo(host, False, lambda _: None)
        assert snapshot(root(host)) == before, steps
        assert again is not None and again.left_to_admin
        steps += 1
    assert steps > 6
