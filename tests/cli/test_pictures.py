"""What a person sees on terminals of 60, 80, 120 and 200 columns: golden files, to be read as such."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tests.beds import boot, pci
from tests.beds.svg import picture
from tests.beds.tasks import TaskLog
from tests.beds.tree import Content, Link, make_fake_tree
from tests.cli.test_cli import on_a_terminal
from tests.cluster.test_commands import cluster
from tests.daemon.bed import PROJECT, RNG0, uefi

CONFIGS = "etc/pve/nodes/pve1/qemu-server"
WIDTHS = (60, 80, 120, 200)
BUS = """\
0000:00:01.0 class=060400 id=8086:460d driver=pcieport group=1 bridge=1
0000:01:00.0 class=030000 id=10de:2204 driver=vfio-pci group=14
0000:01:00.1 class=040300 id=10de:1aef driver=snd_hda_intel group=14
0000:02:00.0 class=010802 id=144d:a808 driver=nvme group=14 disk=nvme0n1/259:0/S1 part=nvme0n1p1/259:1
0000:04:00.0 class=020000 id=8086:1533 driver=igb group=17 net=eno1
"""
TREE: dict[str, Content] = {
    **boot.plant(""),
    **pci.plant(BUS),
    **{f"{CONFIGS}/{vmid}.conf": uefi(f"web{vmid - 199}").replace("2C:69:EC", f"2C:69:{vmid - 200:02X}") for vmid in range(200, 212)},
    f"{CONFIGS}/100.conf": uefi("games", f"{RNG0}hostpci0: 0000:01:00\n"),
    f"{CONFIGS}/102.conf": uefi("hw", "rng0: source=/dev/hwrng\n"),
    f"{CONFIGS}/104.conf": uefi("messy", f"{RNG0}onbot: 1\n"),
    f"{CONFIGS}/105.conf": uefi("a-machine-with-the-long-name-of-a-department-and-its-purpose"),
    f"{CONFIGS}/211.conf": uefi("web12").replace("vmbr0", "vmbr7"),
    "etc/pve/local": Link("nodes/pve1"),
    "sys/class/net/vmbr0/bridge": None,
    "proc/mounts": "/dev/nvme0n1p1 / ext4 rw 0 0\n",
    "proc/self/mountinfo": "22 1 259:1 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p1 rw\n",
    "proc/net/route": "Iface\tDestination\tGateway\n",
}
# What README.md shows.
SHOWN: dict[str, Content] = {
    **boot.plant(""),
    **pci.plant(BUS),
    f"{CONFIGS}/100.conf": uefi("games", f"{RNG0}hookscript: local:snippets/pvehooks-guard\nhostpci0: 0000:01:00\n"),
    **{f"{CONFIGS}/{vmid}.conf": uefi(f"web{vmid - 109}") for vmid in range(110, 122)},
    "etc/pve/local": Link("nodes/pve1"),
    "proc/mounts": "/dev/nvme0n1p1 / ext4 rw 0 0\n",
    "proc/self/mountinfo": "22 1 259:1 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p1 rw\n",
    "proc/net/route": "Iface\tDestination\tGateway\n",
    "sys/class/net/vmbr0/bridge": None,
    "var/lib/vz/snippets/pvehooks-guard": (PROJECT / "libexec/stub").read_bytes(),
}
COMMANDS = (
    ("check",),
    ("check", "200"),
    ("check", "--target", "pve2"),
    ("devices",),
    ("explain", "rng-missing-netboot"),
    ("host", "check"),
    ("host", "check", "--next-boot"),
    ("host", "groups"),
    ("status",),
    ("status", "--cluster"),
    ("why",),
    ("why", "211"),
)
# Of these, the tree of a cluster.
OF_A_CLUSTER = (("check", "--target", "pve2"), ("status", "--cluster"))
NO_BRIDGE = "bridge 'vmbr7' does not exist\nTASK ERROR: start failed: QEMU exited with code 1\n"


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Callable[[tuple[str, ...], int], str]:
    """What a command shows on a terminal of so many columns, without colours."""
    one = make_fake_tree(tmp_path_factory.mktemp("pictures") / "tree", TREE)
    TaskLog(one).failed(211, NO_BRIDGE, 1_795_160_000)
    several = cluster(tmp_path_factory.mktemp("cluster") / "tree")

    @cache
    def run(command: tuple[str, ...], width: int) -> str:
        tree = several if command in OF_A_CLUSTER else one
        return re.sub(r"\x1b\[[0-9;]*m", "", on_a_terminal(tree, *command, COLUMNS=str(width), TZ="UTC"))

    return run


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_picture(
    command: tuple[str, ...], width: int, shown: Callable[[tuple[str, ...], int], str], golden: Callable[[str, str], None]
) -> None:
    name = "-".join(word.lstrip("-") for word in command)
    text = re.sub(r"[0-9]+ days ago", "DAYS ago", shown(command, width))
    golden(f"pictures/{name}-{width}.txt", "".join(f"{line.rstrip()}\n" for line in text.splitlines()))


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_no_text_is_wider_than_the_terminal(command: tuple[str, ...], width: int, shown: Callable[[tuple[str, ...], int], str]) -> None:
    """But for commands, which are pasted as they stand."""
    commands = re.compile(r" +(?:pvehooks|pvesh|qm|for) ")
    wide = [
        line
        for line in shown(command, width).splitlines()
        if len(line.rstrip()) > width and " " in line.strip() and not commands.match(line)
    ]
    assert wide == []


def test_the_picture_in_the_readme(tmp_path: Path, golden: Callable[[str, str], None]) -> None:
    """It is what the terminal shows; --golden-update makes it anew."""
    tree = make_fake_tree(tmp_path / "tree", SHOWN)
    (tree / "var/lib/vz/snippets/pvehooks-guard").chmod(0o755)
    screen = on_a_terminal(tree, "check", COLUMNS="96")
    golden("pictures/check.svg", picture(f"\x1b[32mroot@pve1\x1b[0m:~# pvehooks check\n{screen}", 96))
    assert "](tests/golden/pictures/check.svg)" in (PROJECT / "README.md").read_text()
