"""The block devices that hang off a PCI device, and those that stand on them (the kernel's ABI/stable/sysfs-block)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from pvehooks.facts.reading import names_in, text_of
from pvehooks.host import Host
from pvehooks.values import PciDevice, Uses
from pvehooks.values.base import NamedTuple, cached_property

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pvehooks.facts.guests.running import RunningGuests
    from pvehooks.facts.uses.containers import Containers
    from pvehooks.facts.uses.diskuses import DiskUses
    from pvehooks.facts.uses.processes import OpenFiles

_BLOCK = "/sys/class/block"
_UDEV = "/run/udev/data"
_NVME = "/sys/class/nvme"
_FC_HOSTS = "/sys/class/fc_host"
# What a device-mapper UUID begins with, by who made it; multipath's partitions are kpartx's "partN-mpath-".
_MAKERS = {"LVM-": "LVM", "CRYPT-": "dm-crypt", "mpath-": "multipath", "part": "multipath"}
_STACK_LIMIT = 512


def real(host: Host, path: str) -> str:
    """The path with its links resolved, as written where that cannot be done."""
    try:
        return host.real(path)
    except (OSError, ValueError):
        return path


def as_written_and_resolved(host: Host, path: str) -> set[str]:
    """A path in /dev as written and with its links resolved; any other text as it is."""
    return {path, real(host, path)} if path.startswith("/dev/") else {path}


class Block(NamedTuple):
    """A block device."""

    # The kernel's.
    name: str
    # 'major:minor' or ''.
    number: str
    # Who made it, '' for disks and partitions.
    maker: str
    # What its maker calls it.
    title: str
    # Device-mapper's.
    uuid: str
    # The words of the devices that it stands on, nearest first.
    under: tuple[str, ...]

    @property
    def words(self) -> str:
        """What a person calls it: "sda3", "LVM pve-data"."""
        return f"{self.maker} {self.title}" if self.maker else self.name

    @property
    def place(self) -> str:
        """The same with what it stands on: "LVM pve-data on sda3"."""
        between = self.under if len(self.under) < 3 else self.under[-1:]
        return " on ".join((self.words, *between))

    @property
    def volume(self) -> tuple[str, str]:
        """The names of an LV's volume group and its own; device-mapper doubles their dashes. ("", "") for all else."""
        if self.maker != "LVM":
            return "", ""
        match = re.match(r"((?:[^-]|--)+)-((?!-).*)", self.title)
        return (match[1].replace("--", "-"), match[2].replace("--", "-")) if match else ("", "")

    @property
    def paths(self) -> tuple[str, ...]:
        """What it is called in /dev without udev's by-* links."""
        group, volume = self.volume
        # sysfs writes '!' for a slash.
        mapped = (f"/dev/mapper/{self.title}",) if self.maker else ()
        named = (f"/dev/{group}/{volume}",) if group else ()
        return (f"/dev/{self.name.replace('!', '/')}", *mapped, *named)


class BlockTree(NamedTuple):
    """The block devices of a PCI device, those they stand on first; `bases` are the names below each that stands on others."""

    blocks: tuple[Block, ...]
    bases: Mapping[str, tuple[str, ...]]
    unread: tuple[str, ...]

    def standing_on(self, name: str) -> Iterator[Block]:
        """Those that stand directly on a device."""
        return (block for block in self.blocks if name in self.bases.get(block.name, ()))


class BlockDevices:
    """All block devices of the node, enumerated once; their attributes are read when one of them is asked for."""

    def __init__(self, host: Host) -> None:
        self.host = host

    @cached_property
    def _paths(self) -> Mapping[str, str] | OSError:
        """Where each is in sysfs, by name."""
        try:
            texts = self.host.link_texts(_BLOCK)
        except FileNotFoundError:
            return {}
        except OSError as error:
            return error
        found = {}
        for name, text in texts.items():
            _, devices, path = text.partition("/devices/")
            # nvme0c1n1 is a path to a multipath namespace nvme0n1, which lies below its subsystem; the kernel hides the path.
            if devices and not (name.startswith("nvme") and "c" in name):
                found[name] = f"/sys/devices/{path}"
        return found

    def below(self, address: str) -> BlockTree:
        """The block devices of a PCI device, their partitions, and all that stands on them."""
        paths = self._paths
        if isinstance(paths, OSError):
            return BlockTree((), {}, (f"{_BLOCK}: {paths.strerror}",))
        part = f"/{address}/"
        roots = [name for name, path in paths.items() if part in path or ("/nvme-" in path and self._reaches(path, part))]
        return _Climb(self.host, paths, self._loops).from_(sorted(roots)) if roots else BlockTree((), {}, ())

    def _reaches(self, path: str, part: str) -> bool:
        """Whether one of the controllers of a namespace, or of its NVMe subsystem, belongs to the PCI device."""
        head, subsystem, rest = path.partition("/nvme-subsystem/")
        if not subsystem:
            return any(f"/{name}/" in path and part in host for name, host in self._fabrics.items())
        try:
            links = self.host.link_texts(f"{head}/nvme-subsystem/{rest.partition('/')[0]}")
        except OSError:
            return False
        return any(part in text or part in self._fabrics.get(text.rpartition("/")[2], "") for text in links.values())

    @cached_property
    def _fabrics(self) -> Mapping[str, str]:
        """Where the Fibre Channel ports of NVMe controllers are in sysfs, by the controllers: these are below no PCI device.

        `address` names the port (the kernel's drivers/nvme/host/fc.c). With TCP and RDMA the network card has an address.
        """
        found = {}
        for name in names_in(self.host, _NVME):
            words = text_of(self.host, f"{_NVME}/{name}/address") if text_of(self.host, f"{_NVME}/{name}/transport") == "fc" else ""
            port = re.search(r"\bhost_traddr=nn-0x[0-9a-f]+:pn-(0x[0-9a-f]+)", words)
            for host in names_in(self.host, _FC_HOSTS) if port else ():
                if port and text_of(self.host, f"{_FC_HOSTS}/{host}/port_name") == port[1]:
                    found[name] = real(self.host, f"{_FC_HOSTS}/{host}")
        return found

    @cached_property
    def _loops(self) -> Mapping[str, str]:
        """Loop and zram devices whose backing file is a block device: the name of that, by theirs; `holders` does not have them."""
        paths = self._paths
        found = {}
        for name in () if isinstance(paths, OSError) else (name for name in paths if name.startswith(("loop", "zram"))):
            try:
                backing = self.host.read_text(f"{_BLOCK}/{name}/{'loop/backing_file' if name[0] == 'l' else 'backing_dev'}")
            except OSError:
                continue
            if backing.startswith("/dev/"):
                found[name] = real(self.host, backing).rpartition("/")[2]
        return found


class _Climb:
    """Climbs from disks to all that stands on them; loops of links end because no device is visited twice."""

    def __init__(self, host: Host, paths: Mapping[str, str], loops: Mapping[str, str]) -> None:
        self.host = host
        self.paths = paths
        self.loops = loops
        self.unread: list[str] = []

    def from_(self, roots: list[str]) -> BlockTree:
        found = {name: self._block(name, ()) for name in roots}
        bases: dict[str, list[str]] = {}
        todo = list(found)
        for name in todo:
            for above in self._above(name):
                if above not in found:
                    if len(found) > _STACK_LIMIT:
                        self.unread.append(f"more than {_STACK_LIMIT} block devices stand on {roots[0]} and its neighbours")
                        break
                    under = found[name]
                    found[above] = self._block(above, (under.words, *under.under))
                    todo.append(above)
                bases.setdefault(above, []).append(name)
        return BlockTree(tuple(found.values()), {name: tuple(below) for name, below in bases.items()}, tuple(self.unread))

    def _above(self, name: str) -> list[str]:
        path = self.paths.get(name, f"{_BLOCK}/{name}")
        try:
            above = self.host.names(f"{path}/holders")
        except FileNotFoundError:
            above = []
        except OSError as error:
            above = []
            self.unread.append(f"what stands on {name}: {error.strerror}")
        partitions = sorted(each for each, other in self.paths.items() if other.startswith(f"{path}/"))
        cached = self._cached(path) if not above else []
        return [*partitions, *above, *cached, *(loop for loop, backing in self.loops.items() if backing == name)]

    def _cached(self, path: str) -> list[str]:
        """The bcache devices that a cache device serves (the kernel's admin-guide/bcache)."""
        found = []
        try:
            served = self.host.names(f"{path}/bcache/set")
        except OSError:
            return []
        for entry in served:
            if entry.startswith(("bdev", "volume")):
                try:
                    found.append(self.host.link_name(f"{path}/bcache/set/{entry}/dev"))
                except OSError:
                    continue
        return found

    def _block(self, name: str, under: tuple[str, ...]) -> Block:
        path = self.paths.get(name, f"{_BLOCK}/{name}")
        number = text_of(self.host, f"{path}/dev")
        if name.startswith("dm-"):
            uuid, title = text_of(self.host, f"{path}/dm/uuid"), text_of(self.host, f"{path}/dm/name") or name
            maker = next((maker for start, maker in _MAKERS.items() if uuid.startswith(start)), "device-mapper")
            return Block(name, number, maker, title, uuid, under)
        return Block(name, number, "", name, "", under)


class Udev:
    """udev's database, an entry a device, each read once."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self._known: dict[str, tuple[Mapping[str, str], tuple[str, ...]] | None] = {}

    def properties(self, block: Block) -> Mapping[str, str] | None:
        """Its properties (ID_FS_TYPE and so on), None where there is no entry."""
        entry = self._entry(block.number)
        return entry[0] if entry else None

    def links(self, block: Block) -> tuple[str, ...]:
        """The links in /dev that udev made for it."""
        entry = self._entry(block.number)
        return entry[1] if entry else ()

    def _entry(self, number: str) -> tuple[Mapping[str, str], tuple[str, ...]] | None:
        if number not in self._known:
            self._known[number] = self._read(number) if number else None
        return self._known[number]

    def _read(self, number: str) -> tuple[Mapping[str, str], tuple[str, ...]] | None:
        try:
            text = self.host.read_text(f"{_UDEV}/b{number}")
        except OSError:
            return None
        lines = text.split("\n")
        pairs = (line[2:].partition("=") for line in lines if line.startswith("E:"))
        return {key: value for key, _, value in pairs}, tuple(f"/dev/{line[2:]}" for line in lines if line.startswith("S:"))


class StorageUses:
    """The uses of storage controllers, USB controllers with storage behind them, and all else that has block devices.

    What costs time is imported and read only for devices that have disks.
    """

    def __init__(self, host: Host, node: str, running: RunningGuests, containers: Containers, files: OpenFiles) -> None:
        self._ingredients = (host, node, running, containers, files)
        self._devices = BlockDevices(host)

    @cached_property
    def _disks(self) -> DiskUses:
        from pvehooks.facts.uses.diskuses import DiskUses

        return DiskUses(*self._ingredients)

    def of(self, device: PciDevice) -> Uses:
        """What its disks are used for, the strongest first; vfio leaves it none."""
        if device.vfio:
            return Uses()
        tree = self._devices.below(device.address)
        return self._disks.of(tree) if tree.blocks else Uses((), tree.unread)
