"""What to type to free the disks of a device: each step before the one that needs it, from file systems down to arrays."""

from __future__ import annotations

import re

from pvehooks.facts.uses.blockdevices import Block, BlockTree
from pvehooks.values import Unread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pvehooks.facts.uses.diskuses import DiskUses

# Where a node cannot do without what is mounted, the directories below included (file-hierarchy(7)).
_NEEDED = re.compile(r"/(?:(?:boot|usr|var|etc|home|root|opt|efi|bin|lib|sbin)(?:/.*)?)?")
_PLAIN = re.compile(r"[\w@%+=:,./-]+", re.ASCII)
# Steps on one block device, in the order in which they are done.
_ON_IT, _GROUP, _ITSELF = 0, 1, 2


def commands(uses: DiskUses, tree: BlockTree) -> str:
    """The commands, with && between them; '' where the node cannot do without a disk, or no command frees it."""
    if _is_needed(uses, tree):
        return ""
    height = _heights(tree)
    steps = [(-height[block.name], order, command) for block in tree.blocks for order, command in _steps(uses, tree, block)]
    return " && ".join(dict.fromkeys(command for *_, command in sorted(steps, key=lambda step: step[:2])))


def _is_needed(uses: DiskUses, tree: BlockTree) -> bool:
    for block in tree.blocks:
        points, kind = uses.mounts.of(block)
        # What is mounted in another mount namespace only cannot be unmounted from here.
        if kind and (not points or any(_NEEDED.fullmatch(point) for point in points)):
            return True
        if uses.mounts.is_journal(block) or block.name.startswith("drbd"):
            return True
    return False


def _heights(tree: BlockTree) -> dict[str, int]:
    """How many devices each block device stands on, one above the other; the tree has those below first."""
    found: dict[str, int] = {}
    for block in tree.blocks:
        below = [found.get(name, 0) for name in tree.bases.get(block.name, ())]
        found[block.name] = max(below) + 1 if below else 0
    return found


def _steps(uses: DiskUses, tree: BlockTree, block: Block) -> Iterator[tuple[int, str]]:
    for export in uses.exports_of(block):
        yield _ON_IT, export.command
    points, _ = uses.mounts.of(block)
    for point in sorted(points, key=len, reverse=True):
        yield _ON_IT, f"umount {_quoted(point)}"
    if uses.mounts.is_swap(block):
        yield _ON_IT, f"swapoff {_quoted(block.paths[-1])}"
    group = uses.groups.of(block, tree, uses.udev.properties(block))
    if group:
        # PVE activates the volumes of an enabled storage again (pve-storage, LVMPlugin.pm, activate_storage).
        yield _GROUP, f"pvesm set {group[1]} --disable 1"
        yield _GROUP, f"vgchange -an {group[0]}"
    elif block.volume[0] and not _of_storage(uses, block.volume[0]) and _stands_on_stack(tree, block.name):
        yield _ITSELF, f"vgchange -an {block.volume[0]}"
    if uses.is_active_array(block, tree):
        yield _ITSELF, f"mdadm --stop /dev/{block.name}"
    if block.maker == "dm-crypt" and tree.bases.get(block.name):
        yield _ITSELF, f"cryptsetup close {_quoted(block.title)}"


def _of_storage(uses: DiskUses, group: str) -> bool:
    """Whether a storage uses the volume group, so that the group is deactivated as a whole."""
    return not isinstance(uses.groups.storages, Unread) and group in uses.groups.storages


def _stands_on_stack(tree: BlockTree, name: str) -> bool:
    """Whether an array or an opened encryption is somewhere below a device."""
    known = {block.name: block for block in tree.blocks}
    return any(
        below.startswith("md") or known[below].maker == "dm-crypt" or _stands_on_stack(tree, below)
        for below in tree.bases.get(name, ())
        if below in known
    )


def _quoted(word: str) -> str:
    return word if _PLAIN.fullmatch(word) else "'" + word.replace("'", "'\\''") + "'"
