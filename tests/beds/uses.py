"""Uses of a PCI device, and what only looks like one, planted into a tree as kernel, udev and PVE would show them.

Nothing here knows how the readers look. A planter takes the files of a tree, the device's address (planted by tests.beds.pci, with a
disk `nvme0n1` and its partition `nvme0n1p1`, or a card `eno1`), and adds to the files.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.beds.tree import Content, Link

Files = dict[str, Content]
Planter = Callable[[Files, str], None]

DISK, DISK_NUMBER, PART, PART_NUMBER = "nvme0n1", "259:0", "nvme0n1p1", "259:1"
CARD = "eno1"
_PCI = "sys/devices/pci0000:00"
_MOUNTS = "proc/self/mountinfo"
_NODE = "etc/pve/nodes/pve1"
_GUID = "12345678901234567890"


def _append(files: Files, path: str, text: str) -> None:
    files[path] = str(files.get(path, "")) + text


def _part(address: str) -> str:
    return f"{_PCI}/{address}/nvme/nvme0/{DISK}/{PART}"


def _udev(files: Files, number: str, **properties: str) -> None:
    _append(files, f"run/udev/data/b{number}", "".join(f"E:{name}={value}\n" for name, value in properties.items()))


def _upon(files: Files, lower: str, lower_name: str, name: str, number: str, **attributes: str) -> str:
    """A virtual block device on top of another one; returns its directory."""
    here = f"sys/devices/virtual/block/{name}"
    files |= {f"{here}/dev": f"{number}\n", f"{here}/holders": None}
    files |= {f"{here}/{attribute.replace('__', '/')}": f"{value}\n" for attribute, value in attributes.items()}
    up = "../" * (lower.count("/") + 1)
    files[f"{lower}/holders/{name}"] = Link(f"{up}devices/virtual/block/{name}")
    files[f"{here}/slaves/{lower_name}"] = Link(f"../../../../../{lower.removeprefix('sys/')}")
    files[f"sys/class/block/{name}"] = Link(f"../../devices/virtual/block/{name}")
    files[f"sys/dev/block/{number}"] = Link(f"../../devices/virtual/block/{name}")
    return here


def _mounted(files: Files, number: str, source: str, where: str = "/srv") -> None:
    _append(files, _MOUNTS, f"97 22 {number} / {where} rw,relatime shared:40 - ext4 {source} rw\n")
    _append(files, "proc/mounts", f"{source} {where} ext4 rw,relatime 0 0\n")


def _lv(files: Files, address: str, name: str = "pve-root") -> str:
    vg_lv = {"dm__name": name, "dm__uuid": "LVM-abcdefabcdefabcdefabcdefabcdefabABCDEFabcdefabcdefabcdefabcdef12"}
    _udev(files, PART_NUMBER, ID_FS_TYPE="LVM2_member", ID_FS_UUID="AAAAAA-bbbb-cccc-dddd-eeee-ffff-gggggg")
    return _upon(files, _part(address), PART, "dm-0", "253:0", **vg_lv)


def idle() -> Files:
    """A running node of which nothing is on the devices in question: root is on a disk elsewhere."""
    return {
        _MOUNTS: "21 1 0:20 / /sys rw - sysfs sysfs rw\n22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n",
        "proc/mounts": "sysfs /sys sysfs rw 0 0\n/dev/sda1 / ext4 rw,relatime 0 0\n",
        "proc/swaps": "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n",
        "proc/meminfo": "MemTotal:       32000000 kB\nMemFree:        30000000 kB\nMemAvailable:   30000000 kB\n",
        "proc/1/comm": "systemd\n",
        "proc/1/cmdline": "/sbin/init\0",
        "proc/1/fd/3": Link("/dev/null"),
        "proc/net/route": "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n",
        "proc/net/fib_trie": "Main:\n  +-- 0.0.0.0/0 3 0 4\nLocal:\n  +-- 0.0.0.0/0 3 0 4\n",
        "proc/net/if_inet6": "",
    }


# -- disks ------------------------------------------------------------------------------------------------------------


def mounted_partition(files: Files, address: str) -> None:
    _mounted(files, PART_NUMBER, f"/dev/{PART}")


def mounted_disk(files: Files, address: str) -> None:
    _mounted(files, DISK_NUMBER, f"/dev/{DISK}", "/mnt/with\\040blank")


def mounted_volume(files: Files, address: str) -> None:
    _lv(files, address)
    _mounted(files, "253:0", "/dev/mapper/pve-root", "/")


def mounted_volume_on_crypt(files: Files, address: str) -> None:
    crypt = _upon(files, _part(address), PART, "dm-0", "253:0", dm__name="cryptroot", dm__uuid="CRYPT-LUKS2-0123456789abcdef-cryptroot")
    _upon(files, crypt, "dm-0", "dm-1", "253:1", dm__name="vg0-data", dm__uuid="LVM-" + "x" * 64)
    _mounted(files, "253:1", "/dev/mapper/vg0-data")


def mounted_array(files: Files, address: str) -> None:
    _upon(files, _part(address), PART, "md0", "9:0", md__array_state="clean", md__level="raid1")
    _mounted(files, "9:0", "/dev/md0")


def active_array(files: Files, address: str) -> None:
    _upon(files, _part(address), PART, "md127", "9:127", md__array_state="active", md__level="raid1")


def swap_partition(files: Files, address: str) -> None:
    _append(
        files,
        "proc/swaps",
        f"Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n/dev/{PART}                          partition\t8388604\t\t0\t\t-2\n",
    )


def swap_volume(files: Files, address: str) -> None:
    _lv(files, address, "pve-swap")
    files["dev/mapper/pve-swap"] = Link("../dm-0")
    _append(
        files,
        "proc/swaps",
        "/dev/dm-0                               partition\t8388604\t\t0\t\t-2\n",
    )


def imported_pool(files: Files, address: str) -> None:
    _udev(files, PART_NUMBER, ID_FS_TYPE="zfs_member", ID_FS_LABEL="tank", ID_FS_UUID=_GUID, ID_FS_UUID_SUB="4711")
    files |= {"proc/spl/kstat/zfs/tank/state": "ONLINE\n", "proc/spl/kstat/zfs/tank/guid": f"{_GUID}\n"}


def boot_esp(files: Files, address: str) -> None:
    _udev(files, PART_NUMBER, ID_FS_TYPE="vfat", ID_FS_UUID="5D3E-A1B2", ID_PART_ENTRY_TYPE="c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
    _append(files, "etc/kernel/proxmox-boot-uuids", "5D3E-A1B2\n")


def open_disk(files: Files, address: str) -> None:
    files |= {
        "proc/812/comm": "ceph-osd\n",
        "proc/812/cmdline": "\0".join(("/usr/bin/ceph-osd", "-f", "")),
        "proc/812/fd/5": Link(f"/dev/{DISK}"),
    }


def disk_of_another_guest(files: Files, address: str) -> None:
    files |= {f"dev/{DISK}": "", "dev/disk/by-id/nvme-Samsung_S1": Link(f"../../{DISK}")}
    files[f"{_NODE}/qemu-server/105.conf"] = "name: files\nscsi1: /dev/disk/by-id/nvme-Samsung_S1,size=1T\n"
    files |= {
        "run/qemu-server/105.pid": "815\n",
        "proc/815/cmdline": "\0".join(("/usr/bin/kvm", "-id", "105", "")),
        "proc/815/comm": "kvm\n",
    }


def volume_group_of_a_storage(files: Files, address: str) -> None:
    _lv(files, address, "fast-vm--105--disk--0")
    _append(files, "etc/pve/storage.cfg", "lvm: fast\n\tvgname fast\n\tcontent images\n\n")


# -- network cards ----------------------------------------------------------------------------------------------------


def _virtual_net(files: Files, name: str, **attributes: str) -> None:
    here = f"sys/devices/virtual/net/{name}"
    files |= {f"{here}/flags": "0x1003\n", f"{here}/operstate": "up\n", f"{here}/ifindex": "9\n", f"{here}/address": "52:54:00:00:00:09\n"}
    files |= {f"{here}/{attribute.replace('__', '/')}": value for attribute, value in attributes.items()}
    files[f"sys/class/net/{name}"] = Link(f"../../devices/virtual/net/{name}")


def _enslaved(files: Files, address: str, master: str) -> None:
    files[f"{_PCI}/{address}/net/{CARD}/master"] = Link(f"../../../../virtual/net/{master}")
    files[f"{_PCI}/{address}/net/{CARD}/upper_{master}"] = Link(f"../../../../virtual/net/{master}")
    files[f"sys/devices/virtual/net/{master}/lower_{CARD}"] = Link(f"../../../pci0000:00/{address}/net/{CARD}")


def _addressed(files: Files, name: str) -> None:
    """192.0.2.10/24 on an interface, as /proc/net shows it."""
    files["proc/net/route"] = (
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
        f"{name}\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
    )
    files["proc/net/fib_trie"] = (
        "Main:\n  +-- 0.0.0.0/0 3 0 4\n     +-- 192.0.2.0/24 2 0 2\n        |-- 192.0.2.0\n           /24 link UNICAST\n        |-- 192.0.2.10\n"
        "           /32 host LOCAL\n        |-- 192.0.2.255\n           /32 link BROADCAST\n"
        "Local:\n  +-- 0.0.0.0/0 3 0 4\n     +-- 192.0.2.0/24 2 0 2\n        |-- 192.0.2.0\n           /24 link UNICAST\n        |-- 192.0.2.10\n"
        "           /32 host LOCAL\n        |-- 192.0.2.255\n           /32 link BROADCAST\n"
    )


def bridge_port(files: Files, address: str) -> None:
    _virtual_net(files, "vmbr0", bridge__bridge_id="8000.525400000009\n")
    _enslaved(files, address, "vmbr0")
    files[f"{_PCI}/{address}/net/{CARD}/brport/bridge"] = Link("../../../../../virtual/net/vmbr0")


def bond_slave(files: Files, address: str) -> None:
    _virtual_net(files, "bond0", bonding__slaves=f"{CARD}\n", bonding__mode="802.3ad 4\n")
    _enslaved(files, address, "bond0")


def vlan(files: Files, address: str) -> None:
    _virtual_net(files, f"{CARD}.100")
    files[f"{_PCI}/{address}/net/{CARD}/upper_{CARD}.100"] = Link(f"../../../../virtual/net/{CARD}.100")
    files[f"sys/devices/virtual/net/{CARD}.100/lower_{CARD}"] = Link(f"../../../pci0000:00/{address}/net/{CARD}")


def address_v4(files: Files, address: str) -> None:
    _addressed(files, CARD)


def address_v6(files: Files, address: str) -> None:
    files["proc/net/if_inet6"] = f"20010db8000000000000000000000010 02 40 00 80     {CARD}\n"


def default_route(files: Files, address: str) -> None:
    _addressed(files, CARD)
    _append(files, "proc/net/route", f"{CARD}\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n")


def named_as_port(files: Files, address: str) -> None:
    files["etc/network/interfaces"] = "auto lo\niface lo inet loopback\n\nsource /etc/network/interfaces.d/*\n"
    files["etc/network/interfaces.d/lan"] = (
        f"iface {CARD} inet manual\n\nauto vmbr1\niface vmbr1 inet manual\n\tbridge-ports {CARD}\n\tbridge-stp off\n"
    )


# -- anything ---------------------------------------------------------------------------------------------------------


def running_guest(files: Files, address: str) -> None:
    words = ("/usr/bin/kvm", "-id", "105", "-name", "files,debug-threads=on", "-device", f"vfio-pci,host={address},id=hostpci0,bus=pci.0")
    files |= {"run/qemu-server/105.pid": "815\n", "proc/815/cmdline": "\0".join(words) + "\0", "proc/815/comm": "kvm\n"}
    files[f"{_NODE}/qemu-server/105.conf"] = f"name: files\nhostpci0: {address}\n"


def reserved_by_a_guest(files: Files, address: str) -> None:
    files |= {
        "run/qemu-server/105.pid": "815\n",
        "proc/815/cmdline": "\0".join(("/usr/bin/kvm", "-id", "105", "")),
        "proc/815/comm": "kvm\n",
    }
    files |= {"run/qemu-server/pci-id-reservations": f"{address} 105 pid:815\n", f"{_NODE}/qemu-server/105.conf": "name: files\n"}


DISK_USES: tuple[Planter, ...] = (
    mounted_partition,
    mounted_disk,
    mounted_volume,
    mounted_volume_on_crypt,
    mounted_array,
    active_array,
    swap_partition,
    swap_volume,
    imported_pool,
    boot_esp,
    open_disk,
    disk_of_another_guest,
    volume_group_of_a_storage,
)
CARD_USES: tuple[Planter, ...] = (bridge_port, bond_slave, vlan, address_v4, address_v6, default_route, named_as_port)
ANY_USES: tuple[Planter, ...] = (running_guest, reserved_by_a_guest)

# -- what only looks like a use ---------------------------------------------------------------------------------------


def labelled_file_system(files: Files, address: str) -> None:
    _udev(files, PART_NUMBER, ID_FS_TYPE="ext4", ID_FS_UUID="0b7d3c1e-0000-4000-8000-000000000001", ID_FS_LABEL="root")


def disk_of_a_stopped_guest(files: Files, address: str) -> None:
    files |= {f"dev/{DISK}": "", "dev/disk/by-id/nvme-Samsung_S1": Link(f"../../{DISK}")}
    files[f"{_NODE}/qemu-server/105.conf"] = "name: files\nscsi1: /dev/disk/by-id/nvme-Samsung_S1,size=1T\n"


def pool_that_is_not_imported(files: Files, address: str) -> None:
    """A guest's own pool that is called like the node's."""
    _udev(files, PART_NUMBER, ID_FS_TYPE="zfs_member", ID_FS_LABEL="rpool", ID_FS_UUID="999", ID_FS_UUID_SUB="4711")
    files |= {"proc/spl/kstat/zfs/rpool/state": "ONLINE\n", "proc/spl/kstat/zfs/rpool/guid": f"{_GUID}\n"}


def foreign_volume(files: Files, address: str) -> None:
    """A guest's own volume group, activated by itself and open by nobody."""
    _lv(files, address, "guestvg-root")


def foreign_esp(files: Files, address: str) -> None:
    _udev(files, PART_NUMBER, ID_FS_TYPE="vfat", ID_FS_UUID="1111-2222", ID_PART_ENTRY_TYPE="c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
    _append(files, "etc/kernel/proxmox-boot-uuids", "5D3E-A1B2\n")


def manual_interface(files: Files, address: str) -> None:
    files["etc/network/interfaces"] = f"auto lo\niface lo inet loopback\n\niface {CARD} inet manual\n"


def link_local_address(files: Files, address: str) -> None:
    files["proc/net/if_inet6"] = f"fe800000000000005054000000000001 02 40 20 80     {CARD}\n"


def left_over_reservation(files: Files, address: str) -> None:
    files |= {"run/qemu-server/pci-id-reservations": f"{address} 105 pid:815\n", f"{_NODE}/qemu-server/105.conf": "name: files\n"}


def stopped_guest(files: Files, address: str) -> None:
    files[f"{_NODE}/qemu-server/105.conf"] = f"name: files\nhostpci0: {address}\n"


DISK_LOOK_ALIKES: tuple[Planter, ...] = (
    labelled_file_system,
    disk_of_a_stopped_guest,
    pool_that_is_not_imported,
    foreign_volume,
    foreign_esp,
)
CARD_LOOK_ALIKES: tuple[Planter, ...] = (manual_interface, link_local_address)
ANY_LOOK_ALIKES: tuple[Planter, ...] = (left_over_reservation, stopped_guest)
