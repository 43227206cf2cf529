"""What is done with block devices. A label alone is no use: a guest's own disk carries the same labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pvehooks.facts.reading import device_numbers, unread
from pvehooks.facts.uses.blockdevices import Block, BlockTree, Udev
from pvehooks.facts.uses.ceph import Osds
from pvehooks.facts.uses.containers import Containers
from pvehooks.facts.uses.exports import Export, Exports
from pvehooks.facts.uses.givendisks import GivenDisk, GivenDisks
from pvehooks.facts.uses.lvm import VolumeGroups
from pvehooks.facts.uses.mounts import Mounts
from pvehooks.facts.uses.processes import OpenFiles
from pvehooks.facts.uses.zfs import Pools
from pvehooks.host import Host
from pvehooks.values import Unread, Use, Uses
from pvehooks.values.base import cached_property

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pvehooks.facts.guests.running import RunningGuests

# How a remedy begins that ends a use until the next boot.
UNLESS_NEEDED = "If the node does not need it"
_BOOT_UUIDS = "/etc/kernel/proxmox-boot-uuids"
# The kernel's Documentation/admin-guide/md: all other states serve the array.
# An array that was assembled automatically is "read-auto" until the first write to it (the kernel's admin-guide/md.rst).
_IDLE_ARRAYS = ("", "clear", "inactive", "read-auto")
# They watch devices and use none.
_WATCHING = ("multipathd", "smartctl", "systemd-udevd", "udevd", "(udev-worker)", "blkid")
# Majors that block and character devices get as they come, each kind for itself (the kernel's admin-guide/devices.txt).
_SHARED_MAJORS = range(234, 255)


class DiskUses:
    """The uses of block devices; each kind of evidence is read when it is first needed."""

    def __init__(self, host: Host, node: str, running: RunningGuests, containers: Containers, files: OpenFiles) -> None:
        self.host = host
        self.containers = containers
        self.files = files
        self.udev = Udev(host)
        self.mounts = Mounts(host)
        self.pools = Pools(host)
        self.groups = VolumeGroups(host, node)
        self.osds = Osds(host)
        self.exports = Exports(host)
        self.given = GivenDisks(host, node, running)

    def of(self, tree: BlockTree) -> Uses:
        """What the disks of a device are used for, the strongest first."""
        unread = [*tree.unread]
        mounted, pools, groups, stacks = self._mounted(tree), self._pools(tree, unread), self._groups(tree), [*self._stacks(tree)]
        boots, exported = [*self._boots(tree)], [*self._exported(tree)]
        # No command frees a pool's member or what the node boots from.
        freed = "" if pools or boots or not (mounted or groups or stacks or exported) else self._freed(tree)
        mounted, groups, stacks, exported = ([use._replace(remedy=freed) for use in each] for each in (mounted, groups, stacks, exported))
        found = [*mounted, *pools, *groups, *stacks, *boots, *self._osds(tree), *exported]
        found += self._guests(tree, with_command_lines=not found)
        found += self._containers(tree)
        if not found:
            found += self._open(tree, unread)
        return Uses(tuple(found), tuple(dict.fromkeys((*unread, *self._unread(tree)))))

    def _freed(self, tree: BlockTree) -> str:
        """What to type to end all these uses, in order; '' where the node needs one of them."""
        from pvehooks.facts.uses import freeing

        ended = freeing.commands(self, tree)
        return f"{UNLESS_NEEDED}: {ended}" if ended else ""

    def _unread(self, tree: BlockTree) -> Iterator[str]:
        """What could not be read although it may show a use."""
        yield from self.mounts.unread
        yield from self.given.unread
        yield from self.containers.unread
        storages = self.groups.storages
        if isinstance(storages, Unread):
            yield f"which volume groups PVE's storages use ({storages.why})"
        if isinstance(self._boot_uuids, Unread):
            yield f"which partitions the node boots from ({self._boot_uuids.why})"
        if self.pools or self._boot_uuids or storages:
            unknown = [block.name for block in tree.blocks if self.udev.properties(block) is None]
            if unknown:
                yield f"what is on {_some(unknown)} (udev's database does not know)"

    def _mounted(self, tree: BlockTree) -> list[Use]:
        found = []
        for block in tree.blocks:
            points, kind = self.mounts.of(block)
            if kind:
                what = _some(points) if points else "a file system that is mounted in another mount namespace"
                found.append(((not points, *map(len, points[:1])), Use(f"holds {what} ({kind} on {block.place})")))
        found.sort(key=lambda each: each[0])
        swaps = (Use(f"is swap ({block.place})") for block in tree.blocks if self.mounts.is_swap(block))
        journals = (Use(f"is the journal of a mounted ext4 ({block.place})") for block in tree.blocks if self.mounts.is_journal(block))
        return [*(use for _, use in found), *swaps, *journals]

    def _pools(self, tree: BlockTree, unread: list[str]) -> list[Use]:
        if not self.pools:
            return []
        members: dict[str, list[Block]] = {}
        for block in tree.blocks:
            pool = self.pools.of(self.udev.properties(block) or {})
            if isinstance(pool, Unread):
                unread.append(f"{block.name}: {pool.why}")
                continue
            if not pool and self.pools.holds(self._names(block)):
                pool = "an imported ZFS pool, as /etc/zfs/zpool.cache says"
            if pool:
                members.setdefault(pool, []).append(block)
        return [_members(blocks, f"of {pool}") for pool, blocks in members.items()]

    def _groups(self, tree: BlockTree) -> list[Use]:
        members: dict[tuple[str, str], list[Block]] = {}
        for block in tree.blocks:
            group = self.groups.of(block, tree, self.udev.properties(block))
            if group:
                members.setdefault(group, []).append(block)
        return [
            _members(blocks, f"of the volume group {group}, which storage {storage} uses", "PV")
            for (group, storage), blocks in members.items()
        ]

    def _stacks(self, tree: BlockTree) -> Iterator[Use]:
        """What is only stacked on purpose: active arrays, DRBD, opened encryption. LVM and multipath are set up automatically."""
        by_name = {block.name: block for block in tree.blocks}
        for block in tree.blocks:
            below = [by_name[name] for name in tree.bases.get(block.name, ())]
            if not below:
                continue
            if self.is_active_array(block, tree):
                yield _members(below, f"of the active array {block.name}")
            elif block.name.startswith("drbd"):
                yield Use(f"backs the DRBD device {block.name} ({_some([each.place for each in below])})")
            elif block.maker == "dm-crypt":
                yield Use(f"is open as the dm-crypt device {block.title} ({_some([each.place for each in below])})")

    def is_active_array(self, block: Block, tree: BlockTree) -> bool:
        """Whether it is an array that stands on other devices and serves data."""
        return block.name.startswith("md") and block.name in tree.bases and self._array_state(block.name) not in _IDLE_ARRAYS

    def _array_state(self, name: str) -> str:
        try:
            return self.host.read_text(f"/sys/class/block/{name}/md/array_state")
        except OSError:
            return ""

    def _boots(self, tree: BlockTree) -> Iterator[Use]:
        uuids = self._boot_uuids
        if isinstance(uuids, Unread) or not uuids:
            return
        for block in tree.blocks:
            uuid = (self.udev.properties(block) or {}).get("ID_FS_UUID", "")
            if uuid and uuid.upper() in uuids:
                yield Use(f"is an ESP the node boots from ({block.place}, in {_BOOT_UUIDS})")

    @cached_property
    def _boot_uuids(self) -> frozenset[str] | Unread:
        """The ESPs that proxmox-boot-tool writes to, in upper case."""
        try:
            return frozenset(self.host.read_text(_BOOT_UUIDS).upper().split())
        except FileNotFoundError:
            return frozenset()
        except OSError as error:
            return unread(_BOOT_UUIDS, error)

    def _names(self, block: Block) -> tuple[str, ...]:
        return (*block.paths, *self.udev.links(block))

    def _osds(self, tree: BlockTree) -> Iterator[Use]:
        """An OSD of this node that does not run (a crash, maintenance, the boot) is as much in use: its data is there."""
        if not self.osds:
            return
        for block in tree.blocks:
            numbers = {self.osds.devices[path] for path in self._names(block) if path in self.osds.devices}
            numbers.add(self.osds.by_volume(*block.volume))
            for number in sorted(filter(None, numbers)):
                remedy = (
                    f"If the cluster does not need it: ceph osd out {number}, wait until ceph osd safe-to-destroy osd.{number} succeeds, then:"
                    f" systemctl stop ceph-osd@{number} && pveceph osd destroy {number}"
                )
                kind = "the running Ceph OSD" if self.osds.runs(number) else "Ceph OSD"
                state = "" if self.osds.runs(number) else ", which is down"
                yield Use(f"is the store of {kind} {number}{state} ({block.place})", remedy=remedy)

    def _exported(self, tree: BlockTree) -> Iterator[Use]:
        """What the kernel serves to other machines: it has the device open, and no process shows it."""
        for block in tree.blocks:
            for export in self.exports_of(block):
                yield Use(f"is {export.words} ({block.place})")

    def exports_of(self, block: Block) -> tuple[Export, ...]:
        """What of the device is served to other machines."""
        return self.exports.of(block.number, block.name, self._names(block)) if self.exports else ()

    def _guests(self, tree: BlockTree, with_command_lines: bool) -> list[Use]:
        """Disks that configs name, and, where there is no other use, those that running guests have open by whatever name."""
        found: dict[tuple[int, str], Use] = {}
        for block in tree.blocks:
            for given in (each for name in self._names(block) for each in self.given.by_path.get(name, ())):
                if given.option or with_command_lines:
                    what = given.option or "a disk"
                    found.setdefault((given.vmid, block.name), _given(given, what, block.place))
        return list(found.values())

    def _containers(self, tree: BlockTree) -> Iterator[Use]:
        for block in tree.blocks:
            number = device_numbers(block.number)
            for container in self.containers.given(self._names(block), None if number and number[0] in _SHARED_MAJORS else number):
                yield Use(f"is given to {container.label} ({block.place})", vmid=container.vmid)

    def _open(self, tree: BlockTree, unread: list[str]) -> list[Use]:
        """Which processes have it open: asked last, for it costs a look at all of them."""
        found = []
        for block in tree.blocks:
            number = device_numbers(block.number)
            pids = [
                pid for pid in self.files.pids(block.paths[0]) if self.files.name(pid) not in _WATCHING and self.files.is_block(pid, number)
            ]
            by: dict[int, list[str]] = {}
            for pid in pids:
                by.setdefault(self.files.container(pid), []).append(pid)
            for vmid, those in by.items():
                more = f" and {len(those) - 1} more" if len(those) > 1 else ""
                where = f" in the running {self.containers.label(vmid)}" if vmid else ""
                found.append(Use(f"is open in {self.files.name(those[0])}, pid {those[0]}{more}{where} ({block.place})", vmid))
        if self.files.unread:
            unread.append(self.files.unread)
        return found


def _some(words: Iterable[str]) -> str:
    """The first two, and how many more."""
    known = list(words)
    more = f" and {len(known) - 2} more" if len(known) > 2 else ""
    return f"{', '.join(known[:2])}{more}" if more else " and ".join(known)


def _members(blocks: list[Block], of: str, what: str = "member") -> Use:
    verb = f"is a {what}" if len(blocks) == 1 else f"has {what}s"
    return Use(f"{verb} {of} ({_some(block.place for block in blocks)})")


def _given(given: GivenDisk, what: str, place: str) -> Use:
    """A stopped guest does not miss its disk now: it will when it starts."""
    state = "" if given.runs else ", which is stopped"
    return Use(f"is {what} of {given.label}{state} ({place})", vmid=given.vmid, remark=not given.runs)
