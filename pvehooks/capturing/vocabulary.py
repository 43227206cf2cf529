"""The words that may stay in a disguised capture: those of Proxmox VE, the kernel and Debian, and all that stand in our own code.

What is compared with a word of the code keeps its meaning so, and a word that we know cannot be a node's secret.
"""

from __future__ import annotations

import importlib.util
import pkgutil
import re
from collections.abc import Iterator
from functools import cache
from types import CodeType

import pvehooks

WORD = re.compile(r"[A-Za-z0-9_]+")
UUID = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
# Where nothing is that rules compare with anything.
_LEFT_OUT = ("pvehooks.capturing", "pvehooks.cli", "pvehooks.report", "pvehooks.journal", "pvehooks.daemon")

_FURTHER = """
amd64 arm64 i386 x86_64 aarch64 pc q35 i440fx virt pve pveproxy proxmox debian grub efi uefi
ext2 ext3 ext4 xfs btrfs vfat exfat ntfs zfs zfs_member swap tmpfs devtmpfs sysfs proc cgroup2 overlay squashfs iso9660 fuse fuseblk rpc_pipefs
nfs nfs4 cifs smb3 ceph 9p LVM2_member linux_raid_member crypto_LUKS bcache ceph_bluestore drbd mpath_member isw_raid_member ddf_raid_member
bin boot dev etc home lib lib64 media mnt opt root run sbin srv sys tmp usr var local share images template cache iso dump snippets private
lib log backup content shared nodes export server path pool vgname thinpool thin data metadata tdata tmeta krbd monhost portal target
disk partition part id uuid label name size serial model vendor type state online offline running stopped started none unknown up down
mapper by-id by-path by-uuid by-label by-partuuid by-partlabel ata nvme scsi wwn usb virtio dm lvm md pci mmc
console ttyS0 tty0 tty1 quiet splash nosplash rw ro ROOT UUID PARTUUID LABEL ZFS vmlinuz initrd img BOOT_IMAGE boot_image
intel_iommu amd_iommu iommu pt on off auto force strict igfx_off sm_on pcie_acs_override downstream multifunction id nofb nomodeset
video vesafb efifb simplefb fbcon map initcall_blacklist sysfb_init pcie_aspm pci noaer nomsi realloc hugepages hugepagesz
default_hugepagesz isolcpus nohz_full rcu_nocbs mitigations transparent_hugepage kvm kvm_intel kvm_amd nested ignore_msrs report_ignored_msrs
vfio vfio_pci vfio_iommu_type1 vfio_virqfd disable_vga disable_idle_d3 allow_unsafe_interrupts options softdep pre post blacklist install
snd_hda_intel nouveau nvidia nvidiafb nvidia_drm nvidia_modeset amdgpu radeon i915 xe ixgbe igb e1000e r8169 mlx5_core mlx4_core mpt3sas ahci
xhci_hcd xhci_pci ehci_pci nvme_core megaraid_sas aacraid bnxt_en ast
iface inet inet6 static manual dhcp auto loopback address netmask gateway bridge_ports bridge_stp bridge_fd bridge_vlan_aware bridge_vids
bond_slaves bond_mode bond_miimon bond_xmit_hash_policy bond_primary source interfaces up post-up pre-up post-down pre-down mtu hwaddress
dns nameservers search ovs_type ovs_bridge ovs_ports ovs_bonds ovs_options OVSBridge OVSPort OVSBond OVSIntPort vlan raw_device allow hotplug
lacp 802.3ad balance active backup layer2 layer3 layer4 echo ip link set add route via ethtool
localhost localdomain ip6 allnodes allrouters allhosts localnet mcastprefix
yes no true false enabled disabled ha vm ct group groups rule restricted nofailback comment resources
cluster nodelist nodename nodeid version quorate ips ip lrm master ids qemu lxc vmlist starttime clinfo
password username datastore description secret totem object iqn eui naa fingerprint encryption key namespace version tags
linux host controller root hub keyboard mouse receiver device storage flash drive stick camera webcam audio headset bluetooth wireless adapter
ethernet gigabit lan smart card reader security key composite hid cdc uart converter printer scanner display billboard generic
OpenZFS VMware Bochs QEMU KVM SeaBIOS OVMF EDK
"""
# Names that the kernel, udev and PVE make by rules of their own; what is in them says nothing about whose they are.
_MADE = re.compile(
    r"en(?:o|s|p)\d+(?:[sfdnpiucv]\d*)*|(?:eth|vmbr|bond|vlan|wlan|ib|lo|dummy|team|ovs|wwan|nic)\d*|vmbr\d+v\d+|(?:tap|veth|fwbr|fwln|fwpr)\d+[ipo]?\d*p?\d*"
    r"|(?:sd|vd|hd|xvd)[a-z]{1,3}\d*|nvme\d+(?:[cn]\d+)*(?:p\d+)?|(?:sr|md|loop|zd|drbd|nbd|rbd|bcache|ram|fd)\d+(?:p\d+)?|dm_?\d+|md_?d\d+"
    r"|ttyS\d+|hpet\d|card\d+|renderD\d+|vm|base|subvol|snap|cloudinit|hostpci\d+|bus\d+|[acdn]{1,4}|[x0]+"
)
_NOT_LETTERS = re.compile(r"[0-9_]+")
_SIZE = re.compile(r"\d+(?:[KMGTPkmgtp]i?[Bb]?|[smhd]|ms|us)")
_SHORT_HEX = re.compile(r"[0-9a-fA-F]{1,6}|0x[0-9a-fA-F]{1,8}")
_ADDRESS_PART = re.compile(r"[0-9a-fA-F]{1,4}")
_LONGEST_NUMBER = 15
_LONG_WORD = 8
# Names of storages, pools and groups that installers give.
DEFAULT_NAMES = frozenset(("local", "local-lvm", "local-zfs", "local-btrfs", "rpool", "pve", "vmbr", "root", "swap", "data", "localhost"))


def _constants(constant: object) -> Iterator[str]:
    if isinstance(constant, str):
        yield constant
    elif isinstance(constant, bytes):
        yield constant.decode("latin-1")
    elif isinstance(constant, (tuple, frozenset)):
        for each in constant:
            yield from _constants(each)
    elif isinstance(constant, CodeType):
        yield from _constants(constant.co_consts)
        yield from constant.co_names
        yield from constant.co_varnames


@cache
def texts() -> tuple[str, ...]:
    """All texts in our code."""
    found: dict[str, None] = {}
    for module in pkgutil.walk_packages(pvehooks.__path__, "pvehooks."):
        if module.name.startswith(_LEFT_OUT) or module.name == "pvehooks.__main__":
            continue
        spec = importlib.util.find_spec(module.name)
        code = spec.loader.get_code(module.name) if spec and hasattr(spec.loader, "get_code") else None  # type: ignore[union-attr]
        found.update(dict.fromkeys(_constants(code) if code else ()))
    return tuple(found)


@cache
def words() -> frozenset[str]:
    """The words that may stay, in lower case."""
    return frozenset(word.lower() for text in (*texts(), _FURTHER, *DEFAULT_NAMES) for word in WORD.findall(text))


@cache
def uuids() -> frozenset[str]:
    """UUIDs that mean the same everywhere."""
    return frozenset(uuid.lower() for text in texts() for uuid in UUID.findall(text))


def is_plain(word: str) -> bool:
    """Whether a word is a number, or a name that is made by rules, and tells nothing."""
    if word.isdecimal():
        return len(word) <= _LONGEST_NUMBER
    return any(pattern.fullmatch(word) for pattern in (_SHORT_HEX, _SIZE, _MADE))


def may_stay(word: str) -> bool:
    """Whether a word may stay where it stands among others."""
    if word.lower() in words() or is_plain(word):
        return True
    if len(word) > _LONG_WORD and word[:-1].lower() in words():
        # Misspelt.
        return True
    parts = [part.lower() for part in _NOT_LETTERS.split(word) if part]
    return bool(parts) and all(len(part) > 1 and part in words() for part in parts)


def is_default(name: str) -> bool:
    """Whether a name is one that PVE, or our own code, gives."""
    # A VLAN's interface is called like the one below.
    name, dot, tag = name.partition(".")
    if dot and not tag.isdecimal():
        return False
    made = any(pattern.fullmatch(name) for pattern in (_SIZE, _MADE, _ADDRESS_PART))
    return made or name in DEFAULT_NAMES or name.isdecimal() or name.lower() in words()
