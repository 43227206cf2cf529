"""A rule's example as the tree of a node: /usr/bin/python3 -m tests.rules.example_tree EXAMPLE DIRECTORY."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from pvehooks.formats import guestconfig
from pvehooks.host import Completed, Host
from pvehooks.records import baseline
from tests.beds import boot, pci, usb
from tests.beds.tree import make_fake_tree, parse_txtar

CONFIG = "etc/pve/nodes/pve1/qemu-server/100.conf"
_LINK = "ip link show dev "


class LinkHost(Host):
    """A tree with what `ip -json link show dev NAME` prints of its network cards."""

    def __init__(self, root: str, links: dict[str, str]) -> None:
        super().__init__(root)
        self._links = links

    def run(self, argv: Sequence[str], timeout: float, env: Mapping[str, str] | None = None) -> Completed:
        shown = self._links.get(argv[-1], "") if list(argv[:-1]) == ["ip", "-json", "link", "show", "dev"] else ""
        return Completed(0, shown, "") if shown else super().run(argv, timeout, env)


def tree_of(example: Path, directory: Path) -> Host:
    """The example as a tree; what a text file cannot hold is put in here."""
    files = parse_txtar(example.read_bytes().decode().replace("@NUL@", "\0"))
    files = {**pci.plant(str(files.pop("pci", ""))), **files} if "pci" in files else files
    files = {**boot.plant(str(files.pop("boot", ""))), **files} if "boot" in files else files
    files = {**usb.plant(str(files.pop("usb", ""))), **files} if "usb" in files else files
    binary = {name.removeprefix("hex "): bytes.fromhex(str(files.pop(name))) for name in list(files) if name.startswith("hex ")}
    files = {**files, **binary}
    sizes = dict(line.split() for line in str(files.pop("sizes", "")).splitlines())
    files = {**files, **dict.fromkeys(sizes, "")}
    older = str(files.pop("older", "")).split()
    links = {name.removeprefix(_LINK): str(files.pop(name)) for name in list(files) if name.startswith(_LINK)}
    config = files.get(CONFIG)
    if example.name == "config-too-large.failing.txtar":
        files[CONFIG] = "description: " + "x" * (1 << 20)
    elif example.name == "config-cut-short.failing.txtar" and isinstance(config, str):
        files[CONFIG] = config.rstrip("\n")
    elif isinstance(config, str) and "@LATIN1@" in config:
        files[CONFIG] = config.encode().replace(b"@LATIN1@", b"\xe9")
    first_look = files.get("etc/pve/pvehooks/first-look/pve1.json")
    if isinstance(first_look, str) and isinstance(config, str):
        parsed = guestconfig.parse(config.encode())
        files["etc/pve/pvehooks/first-look/pve1.json"] = first_look.replace("FINGERPRINT", baseline.fingerprint(parsed))
    host = LinkHost(str(make_fake_tree(directory, files)), links)
    for name in (name for name, content in files.items() if isinstance(content, str) and content.startswith("#!")):
        Path(host.root, name).chmod(0o755)
    for name, size in sizes.items():
        os.truncate(Path(host.root, name), int(size))
    for name in older:
        os.utime(Path(host.root, name), (1_700_000_000, 1_700_000_000))
    return host


if __name__ == "__main__":
    tree_of(Path(sys.argv[1]), Path(sys.argv[2]))
