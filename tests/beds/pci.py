"""PCI devices of a tree, planted from a table of a line a device, laid out as the kernel's sysfs does it.

    0000:01:00.0 class=030000 id=10de:2204 driver=vfio-pci group=14

Keys: `class` (6 hex digits), `id` and `subsystem` (vendor:device), `driver`, `override`, `group`, `reset` (methods with commas between,
"-" for none), `bridge`, `dead`, `boot_vga`, `pf` (address of the PF of a VF), `mdev` (type:available, with commas between),
`behind` (the bridges above it, with commas between), `net` (an interface, or interface/MAC), `disk` (name/major:minor/serial of an NVMe
namespace), `part` (name/major:minor of a partition of it), `link` (its speed and lanes now and at most: 8.0x4/16.0x16), `numa`, `port` (the
type of a PCIe port: 4 of a root port, 5 and 6 of a switch's upper and lower ports).
"""

from __future__ import annotations

from tests.beds.tree import Content, Link

BUS = "sys/bus/pci/devices"
ROOT = "sys/devices/pci0000:00"


def plant(table: str) -> dict[str, Content]:
    """The files of the devices in a table; the IOMMU is on as soon as one of them has a group."""
    files: dict[str, Content] = {BUS: None, "sys/kernel/iommu_groups": None, "sys/class/iommu": None}
    for line in table.splitlines():
        if line.strip() and not line.startswith("#"):
            address, *pairs = line.split()
            files.update(_device(address, dict(pair.partition("=")[::2] for pair in pairs)))
    return files


def _device(address: str, keys: dict[str, str]) -> dict[str, Content]:
    behind = keys.get("behind", "").split(",") if "behind" in keys else []
    here = "/".join((ROOT, *behind, address))
    up = "../" * len(behind)
    vendor, product = keys.get("id", "8086:1533").split(":")
    files: dict[str, Content] = {
        f"{BUS}/{address}": Link(f"../../../{here.removeprefix('sys/')}"),
        f"{here}/class": f"0x{keys.get('class', '020000')}\n",
        f"{here}/vendor": f"0x{vendor}\n",
        f"{here}/device": f"0x{product}\n",
        f"{here}/driver_override": f"{keys.get('override', '(null)')}\n",
        f"{here}/boot_vga": f"{keys.get('boot_vga', '0')}\n",
        f"{here}/irq": "16\n",
        f"{here}/config": b"\xff" * 64 if "dead" in keys else _config(vendor + product, keys.get("port", "")),
        f"{here}/reset_method": "\n" if keys.get("reset") == "-" else keys.get("reset", "flr,bus").replace(",", " ") + "\n",
    }
    if "subsystem" in keys:
        maker, model = keys["subsystem"].split(":")
        files |= {f"{here}/subsystem_vendor": f"0x{maker}\n", f"{here}/subsystem_device": f"0x{model}\n"}
    if "driver" in keys:
        driver = f"sys/bus/pci/drivers/{keys['driver']}"
        files |= {f"{here}/driver": Link(f"../../../{up}bus/pci/drivers/{keys['driver']}")}
        files |= {f"{driver}/{address}": Link(f"../../../../{here.removeprefix('sys/')}"), f"{driver}/new_id": ""}
        if keys["driver"].endswith("vfio-pci"):
            files[f"{here}/vfio-dev/vfio0"] = None
    if "group" in keys:
        group = f"sys/kernel/iommu_groups/{keys['group']}"
        files |= {f"{here}/iommu_group": Link(f"../../../{up}kernel/iommu_groups/{keys['group']}"), "sys/class/iommu/dmar0": None}
        files[f"{group}/devices/{address}"] = Link(f"../../../../{here.removeprefix('sys/')}")
    if "bridge" in keys:
        files[f"{here}/pci_bus"] = None
    if "numa" in keys:
        files[f"{here}/numa_node"] = f"{keys['numa']}\n"
    for which, link in zip(("current", "max"), keys.get("link", "").split("/") if "link" in keys else (), strict=False):
        speed, _, width = link.partition("x")
        files |= {f"{here}/{which}_link_speed": f"{speed} GT/s PCIe\n", f"{here}/{which}_link_width": f"{width}\n"}
    if "pf" in keys:
        files[f"{here}/physfn"] = Link(f"../{keys['pf']}")
        files[f"{'/'.join((ROOT, *behind, keys['pf']))}/virtfn{int(address[-1])}"] = Link(f"../{address}")
    for kind in filter(None, keys.get("mdev", "").split(",")):
        name, available = kind.split(":")
        files[f"{here}/mdev_supported_types/{name}/available_instances"] = f"{available}\n"
    return files | _children(here, address, keys)


def _config(ids: str, port: str) -> bytes:
    """A configuration space of 64 bytes, with a PCI Express capability behind it for a port."""
    if not port:
        return bytes.fromhex(ids) + bytes(60)
    header = bytearray(bytes.fromhex(ids) + bytes(60))
    header[0x06], header[0x34] = 0x10, 0x40
    return bytes(header) + bytes((0x10, 0, int(port) << 4 | 2, 0)) + bytes(188)


def _children(here: str, address: str, keys: dict[str, str]) -> dict[str, Content]:
    files: dict[str, Content] = {}
    if "net" in keys:
        name, _, mac = keys["net"].partition("/")
        files |= {f"{here}/net/{name}/operstate": "up\n", f"{here}/net/{name}/flags": "0x1003\n"}
        files |= {f"{here}/net/{name}/address": f"{mac or '52:54:00:00:00:01'}\n", f"{here}/net/{name}/ifindex": "2\n"}
        if mac:
            files[f"{here}/net/{name}/device"] = Link("../..")
        files[f"sys/class/net/{name}"] = Link(f"../../{here.removeprefix('sys/')}/net/{name}")
    if "disk" in keys:
        name, number, *serial = keys["disk"].split("/")
        controller = f"{here}/nvme/{name.rpartition('n')[0]}"
        files |= {f"{controller}/serial": "".join(serial) + "\n", f"{controller}/{name}/dev": f"{number}\n"}
        files |= _block(f"{controller}/{name}", name, number)
        if "part" in keys:
            part, number = keys["part"].split("/")
            files |= {f"{controller}/{name}/{part}/dev": f"{number}\n", f"{controller}/{name}/{part}/partition": "1\n"}
            files |= _block(f"{controller}/{name}/{part}", part, number)
    return files


def _block(place: str, name: str, number: str) -> dict[str, Content]:
    below = place.removeprefix("sys/")
    return {
        f"{place}/holders": None,
        f"run/udev/data/b{number}": f"S:disk/by-path/{name}\n",
        f"sys/class/block/{name}": Link(f"../../{below}"),
        f"sys/dev/block/{number}": Link(f"../../{below}"),
    }
