"""`pvehooks host check --next-boot`: a verdict for each VM with passed-through devices, what is lost beside, one line where all is well."""

from __future__ import annotations

import json
import lzma
from pathlib import Path

import pytest

from pvehooks.capture import make
from pvehooks.errors import EXIT_BLOCKED, EXIT_COULD_NOT_LOOK, EXIT_OK, EXIT_USAGE
from tests.beds import boot, pci, uses
from tests.beds.commandline import Ended, pvehooks
from tests.beds.tree import Content, make_fake_tree
from tests.capture.bed import captured
from tests.lint.source import PROJECT
from tests.rules.example_tree import tree_of
from tests.rules.test_examples import EXAMPLES

NEW = "6.8.12-5-pve"
GUESTS = "etc/pve/nodes/pve1/qemu-server"
BUS = "0000:01:00.0 class=030000 id=10de:2204 driver=nouveau group=14\n0000:02:00.0 class=020000 id=8086:1533 driver=igb group=15\n"
SIGNED = "~Module signature appended~\n"
OURS = ("acs-override-changes", "initramfs-", "interface-not", "interface-renamed", "next-kernel", "vfs-not-made")


def node(directory: Path, files: dict[str, Content], words: str = "", bus: str = BUS) -> Path:
    return make_fake_tree(directory, {**pci.plant(bus), **boot.plant(f"next: {NEW}\n{words}"), **files})


def check(tree: Path, *words: str) -> Ended:
    return pvehooks("host", "check", "--next-boot", "--root", str(tree), *words)


def guests(*configs: str) -> dict[str, Content]:
    return {f"{GUESTS}/{100 + number}.conf": f"name: vm{number}\n{config}\n" for number, config in enumerate(configs)}


def test_one_line_where_all_is_well(tmp_path: Path) -> None:
    ended = check(node(tmp_path, guests("hostpci0: 0000:01:00.0", "hostpci0: 0000:02:00.0", "memory: 512")))
    assert ended == (
        EXIT_OK,
        f"next boot of pve1: kernel {NEW} (the newest one); 2 VMs with passed-through devices will start, and nothing is lost\n",
    )


def test_a_line_for_each(tmp_path: Path) -> None:
    """Those without passthrough and templates are not asked about."""
    tree = node(
        tmp_path,
        guests(
            "hostpci0: 0000:01:00.0",
            "hostpci0: 0000:09:00.0",
            "hostpci0: mapping=gone",
            "memory: 512",
            "hostpci0: 0000:09:00.0\ntemplate: 1",
        ),
    )
    status, text = check(tree)
    assert status == EXIT_BLOCKED
    verdicts = [line for line in text.splitlines() if line.startswith("VM ")]
    assert [line.split(", because")[0] for line in verdicts] == [
        "VM 101 (vm1): will not start",
        "VM 102 (vm2): will not start",
        "VM 100 (vm0): will start",
    ]


def test_what_frees_a_disk_outlasts_the_restart(tmp_path: Path) -> None:
    """What is unmounted by hand is mounted again by then."""
    bus = "0000:01:00.0 class=010802 id=144d:a808 driver=nvme group=14 disk=nvme0n1/259:0/S1 part=nvme0n1p1/259:1\n"
    files = guests("hostpci0: 0000:01:00.0") | uses.idle() | pci.plant(bus)
    uses.mounted_partition(files, "0000:01:00.0")
    status, text = check(node(tmp_path, files, bus=bus))
    assert status == EXIT_BLOCKED
    assert "    If the node does not need it, take it out of /etc/fstab, or of what else uses it at boot, and: umount /srv\n" in text


def test_what_is_not_known(tmp_path: Path) -> None:
    (tree := node(tmp_path, guests("hostpci0: 0000:01:00.0"))).joinpath(f"lib/modules/{NEW}/modules.dep").unlink()
    tree.joinpath(f"lib/modules/{NEW}/modules.builtin").unlink()
    status, text = check(tree)
    assert status == EXIT_COULD_NOT_LOOK
    assert f"VM 100 (vm0): cannot tell, because which modules the kernel {NEW} has is unknown" in text
    assert "not examined" not in text
    (guest,) = json.loads(check(tree, "--json").output)["guests"]
    assert guest["verdict"] == "cannot tell" and guest["because"].startswith("which modules the kernel")


def test_a_node_that_may_not_boot(tmp_path: Path) -> None:
    """No VM starts on a node that does not."""
    (tree := node(tmp_path, guests("hostpci0: 0000:01:00.0"))).joinpath(f"boot/initrd.img-{NEW}").unlink()
    status, text = check(tree)
    assert status == EXIT_BLOCKED
    assert (
        f"pve1: the node may not boot the kernel {NEW}: /boot/initrd.img-{NEW} cannot be used, it is not there [initramfs-unusable]" in text
    )
    assert "VM 100 (vm0): cannot tell, because pve1 itself may not boot" in text


def test_an_initramfs_that_cannot_be_unpacked(tmp_path: Path) -> None:
    """What is not known is not "nothing is lost"."""
    (tree := node(tmp_path, guests("hostpci0: 0000:01:00.0"))).joinpath(f"boot/initrd.img-{NEW}").write_bytes(b"\x89LZO" + bytes(20))
    status, text = check(tree)
    assert status == EXIT_COULD_NOT_LOOK
    assert "pve1: cannot tell: whether the node finds its root file system with its initramfs is unknown: " in text
    assert "VM 100 (vm0): will start\n" in text and "not examined" not in text


@pytest.mark.parametrize(
    ("ending", "verdict"), [(SIGNED, "will start"), ("", "will not start"), (None, "will start")], ids=["yes", "no", "unknown"]
)
def test_a_packed_module_that_secure_boot_refuses(ending: str | None, verdict: str, tmp_path: Path) -> None:
    """Whether it is signed is seen in it unpacked; a capture shows the same."""
    packed = b"\xfd7zXZ cut short" if ending is None else lzma.compress(b"\x7fELF" + bytes(5000) + ending.encode())
    modules: dict[str, Content] = {f"lib/modules/{each}/updates/dkms/igb.ko.xz": packed for each in (boot.RELEASE, NEW)}
    dkms = f"var/lib/dkms/igb/5.16/{NEW}/x86_64/module"
    secure: dict[str, Content] = {"sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c": b"\6\0\0\0\1"}
    bus = "0000:02:00.0 class=020000 id=8086:10c9 driver=igb group=15\n0000:02:10.0 class=020000 id=8086:10ca driver=vfio-pci group=16 pf=0000:02:00.0\n"
    vfs: dict[str, Content] = {
        "etc/sysfs.conf": "devices/pci0000:00/0000:02:00.0/sriov_numvfs = 1\n",
        "usr/lib/systemd/system/sysfsutils.service": "",
    }
    config = guests("hostpci0: 0000:02:10.0")
    tree = node(tmp_path / "tree", {**config, **modules, **secure, **vfs, f"{dkms}/igb.ko.xz": b""}, bus=bus)
    text = check(tree).output
    assert f"VM 100 (vm0): {verdict}" in text or (verdict == "will start" and "1 VM with passed-through devices will start" in text), text
    assert ("igb of DKMS is not signed" in text) == (ending == "")
    captured(make.look(str(tree), "pve1"), True, tmp_path)
    assert check(tmp_path / "plain").output == text


def test_a_pinned_kernel_that_lacks_what_the_newest_has(tmp_path: Path) -> None:
    tree = node(tmp_path, {**guests("hostpci0: 0000:01:00.0"), "etc/kernel/proxmox-boot-pin": f"{boot.RELEASE}\n"})
    (tree / f"lib/modules/{boot.RELEASE}/modules.dep").write_text("")
    assert check(tree).status == EXIT_BLOCKED
    assert pvehooks("host", "check", "--next-boot", NEW, "--root", str(tree)).status == EXIT_OK


def test_a_running_vm_holds_nothing_after_the_boot(tmp_path: Path) -> None:
    """Two VMs share a card, and only one of them runs now."""
    kvm = "/usr/bin/kvm\0-id\x00100\0-device\0vfio-pci,host=0000:01:00.0\0"
    running: dict[str, Content] = {"run/qemu-server/100.pid": "4000\n", "proc/4000/cmdline": kvm}
    tree = node(tmp_path, {**guests("hostpci0: 0000:01:00.0", "hostpci0: 0000:01:00.0"), **running})
    assert "VM 101" in pvehooks("check", "101", "--root", str(tree)).output
    assert check(tree).status == EXIT_OK


def test_ten_lines_for_apt(tmp_path: Path) -> None:
    tree = node(tmp_path, guests(*(20 * ["hostpci0: 0000:09:00.0"]), "hostpci0: 0000:01:00.0"))
    lines = check(tree, "--brief").output.splitlines()
    assert len(lines) == 10
    assert lines[-1] == f"what to do: pvehooks host check --next-boot {NEW}"
    assert lines[-2].startswith("and ") and lines[-2].endswith(" lines more")


def test_a_kernel_that_is_removed(tmp_path: Path) -> None:
    """That it runs, or is pinned, is said as well."""
    tree = node(tmp_path, {**guests("hostpci0: 0000:01:00.0"), "etc/kernel/proxmox-boot-pin": f"{boot.RELEASE}\n"})
    text = check(tree, "--without", boot.RELEASE).output
    assert f"next boot of pve1: kernel {NEW}" in text
    assert f"the kernel {boot.RELEASE} is running and is removed: until the restart no VM with a passed-through device starts" in text
    assert "[kernel-pin-missing]" in text
    (tree / "etc/kernel/proxmox-boot-pin").unlink()
    assert check(tree, "--without", NEW).output.startswith(f"next boot of pve1: kernel {boot.RELEASE} (the newest one); 1 VM")


def test_json(tmp_path: Path) -> None:
    tree = node(tmp_path, guests("hostpci0: 0000:01:00.0", "hostpci0: 0000:09:00.0"))
    document = json.loads(check(tree, "--json").output)
    assert document["next_boot"]["kernel"] == NEW and document["next_boot"]["running"] == boot.RELEASE
    assert [(guest["vmid"], guest["verdict"]) for guest in document["guests"]] == [(100, "will start"), (101, "will not start")]
    assert document["guests"][0]["because"] is None and "0000:09:00.0" in document["guests"][1]["because"]
    assert document["losses"] == []


@pytest.mark.parametrize("words", [("--brief",), ("--without", NEW)])
def test_options_of_it_alone(words: tuple[str, ...], tmp_path: Path) -> None:
    ended = pvehooks("host", "check", *words, "--root", str(node(tmp_path, {})))
    assert ended.status == EXIT_USAGE and "is for --next-boot only" in ended.output


@pytest.mark.parametrize("files", [{"boot": None}, {"proc/sys/kernel": None}], ids=str)
def test_a_node_of_which_nothing_is_known(files: dict[str, Content], tmp_path: Path) -> None:
    tree = make_fake_tree(tmp_path, {f"{GUESTS}/100.conf": "hostpci0: 0000:01:00.0\n", "etc/pve/local": None, **files})
    ended = pvehooks("host", "check", "--next-boot", "--root", str(tree), "--node", "pve1")
    assert ended.status == EXIT_COULD_NOT_LOOK and "cannot be looked at" in ended.output


@pytest.mark.parametrize("example", sorted(path for path in EXAMPLES.iterdir() if path.name.startswith(OURS)), ids=lambda path: path.stem)
def test_a_capture_shows_the_same(example: Path, tmp_path: Path) -> None:
    root = tree_of(example, tmp_path / "tree").root
    captured(make.look(root, "pve1"), True, tmp_path)
    of_node, of_capture = (pvehooks("host", "check", "--next-boot", "--root", each) for each in (root, str(tmp_path / "plain")))
    assert of_capture == of_node


def test_a_disguised_capture_keeps_the_naming_scheme(tmp_path: Path) -> None:
    root = tree_of(EXAMPLES / "interface-not-pinned.failing-udev.txtar", tmp_path / "tree").root
    captured(make.look(root, "pve1"), False, tmp_path)
    text = pvehooks("host", "check", "--next-boot", "--root", str(tmp_path / "disguised")).output
    assert "udev's naming scheme changes from v252 to v257" in text


def test_the_hooks_are_whole() -> None:
    """Each is run by dpkg as it stands, whether the package is there or not."""
    for name in ("postinst.d", "prerm.d"):
        hook = PROJECT / f"etc/kernel/{name}/zzz-pvehooks"
        assert hook.stat().st_mode & 0o111
        assert hook.read_text().endswith(f'/usr/libexec/pvehooks/next-boot {name.removesuffix(".d")} "$1"\nexit 0\n')
