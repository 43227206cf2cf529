"""The options of a VM config and the property strings among them, as qemu-server 9.2 declares them.

Sources: PVE/QemuServer.pm ($confdesc and the formats beside it) and PVE/QemuServer/{Agent,CPUConfig,CPUFlags,Drive,Machine,Memory,
MetaInfo,Network,PCI,RNG,USB,Virtiofs}.pm. Defaults are left out: a value that is not written is not there.
"""

from __future__ import annotations

from collections.abc import Mapping

from pvehooks.formats.checks import Property, enum, flag, integer, number, string
from pvehooks.values.base import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

Properties = Mapping[str, Property]

# -- CPU models (qemu-server 9.2 and pve-qemu-kvm 11.0) ---------------------------------------------------------------

_QEMU = """
486 Broadwell Broadwell-IBRS Broadwell-noTSX Broadwell-noTSX-IBRS Cascadelake-Server Cascadelake-Server-noTSX
Cascadelake-Server-v2 Cascadelake-Server-v4 Cascadelake-Server-v5 ClearwaterForest ClearwaterForest-v2 ClearwaterForest-v3
Conroe Cooperlake Cooperlake-v2 DiamondRapids EPYC EPYC-Genoa EPYC-Genoa-v2 EPYC-IBPB EPYC-Milan EPYC-Milan-v2 EPYC-Milan-v3
EPYC-Rome EPYC-Rome-v2 EPYC-Rome-v3 EPYC-Rome-v4 EPYC-Rome-v5 EPYC-Turin EPYC-v3 EPYC-v4 EPYC-v5 GraniteRapids
GraniteRapids-v2 GraniteRapids-v3 GraniteRapids-v4 GraniteRapids-v5 Haswell Haswell-IBRS Haswell-noTSX Haswell-noTSX-IBRS
Icelake-Client Icelake-Client-noTSX Icelake-Server Icelake-Server-noTSX Icelake-Server-v3 Icelake-Server-v4
Icelake-Server-v5 Icelake-Server-v6 Icelake-Server-v7 IvyBridge IvyBridge-IBRS KnightsMill Nehalem Nehalem-IBRS Opteron_G1
Opteron_G2 Opteron_G3 Opteron_G4 Opteron_G5 Penryn SandyBridge SandyBridge-IBRS SapphireRapids SapphireRapids-v2
SapphireRapids-v3 SapphireRapids-v4 SapphireRapids-v5 SapphireRapids-v6 SierraForest SierraForest-v2 SierraForest-v3
SierraForest-v4 SierraForest-v5 Skylake-Client Skylake-Client-IBRS Skylake-Client-noTSX-IBRS Skylake-Client-v4
Skylake-Server Skylake-Server-IBRS Skylake-Server-noTSX-IBRS Skylake-Server-v4 Skylake-Server-v5 Westmere Westmere-IBRS
a64fx athlon core2duo coreduo cortex-a35 cortex-a53 cortex-a55 cortex-a57 cortex-a710 cortex-a72 cortex-a76 cortex-a78ae
host kvm32 kvm64 max neoverse-n1 neoverse-n2 neoverse-v1 pentium pentium2 pentium3 phenom qemu32 qemu64
"""

QEMU_MODELS = frozenset(_QEMU.split())
"""QEMU's own, for x86_64 and aarch64. A newer pve-qemu-kvm may know more: it lists them in /usr/share/kvm/cpu-models-*.json."""

CPU_MODELS = QEMU_MODELS | {"x86-64-v2", "x86-64-v2-AES", "x86-64-v3", "x86-64-v4"}
"""With those that PVE makes of QEMU's."""

# -- machines (PVE/QemuServer/Machine.pm) ------------------------------------------------------------------------------

MACHINE_REVISIONS = {"4.1": 2, "9.2": 1, "10.0": 1, "11.0": 2}
"""Of each version the newest revision that PVE made of it (pc-q35-9.2+pve1)."""

# -- disks (PVE/QemuServer/Drive.pm) ----------------------------------------------------------------------------------

_FILE: Properties = {
    "volume": Property("string", alias="file"),
    "file": string(form="pve-volume-id-or-qm-path", required=True, default_key=True),
}
_SIZE = string(form="disk-size")
_IMAGE_FORMAT = enum("raw", "qcow", "qed", "qcow2", "vmdk", "cloop")
_SPEEDS = ("bps", "bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr")
_POOLS = ("iops_max", "iops_rd_max", "iops_wr_max")
_MEGABYTES = ("mbps", "mbps_rd", "mbps_wr", "mbps_max", "mbps_rd_max", "mbps_wr_max")
_BURSTS = tuple(f"{speed}_max_length" for speed in _SPEEDS)

_COMMON: Properties = {
    **_FILE,
    "media": enum("cdrom", "disk"),
    "snapshot": flag(),
    "cache": enum("none", "writethrough", "writeback", "unsafe", "directsync"),
    "format": _IMAGE_FORMAT,
    "size": _SIZE,
    "backup": flag(),
    "replicate": flag(),
    "rerror": enum("ignore", "report", "stop"),
    "werror": enum("enospc", "ignore", "report", "stop"),
    "aio": enum("native", "threads", "io_uring"),
    "discard": enum("ignore", "on"),
    "detect_zeroes": flag(),
    "serial": string(form="urlencoded", max_length=60),
    "shared": flag(),
    **dict.fromkeys(_SPEEDS + _POOLS, integer()),
    **dict.fromkeys(_MEGABYTES, number()),
    **dict.fromkeys(_BURSTS, integer(1)),
    **{f"{speed}_length": Property("string", alias=f"{speed}_max_length") for speed in ("bps_rd", "bps_wr", "iops_rd", "iops_wr")},
}
_SSD = {"ssd": flag()}
_WWN = {"wwn": string(pattern="0x[0-9a-fA-F]{16}", noun="a world wide name")}
_IOTHREAD = {"iothread": flag()}
_READ_ONLY = {"ro": flag()}

DRIVE_FORMATS: Mapping[str, Properties] = {
    "ide": {**_COMMON, "model": string(form="urlencoded", max_length=120), **_SSD, **_WWN},
    "sata": {**_COMMON, **_SSD, **_WWN},
    "scsi": {
        **_COMMON,
        **_IOTHREAD,
        "product": string(pattern=r"[A-Za-z0-9\-_\s]{0,16}", noun="a product name of at most 16 characters"),
        "queues": integer(2),
        **_READ_ONLY,
        "scsiblock": flag(),
        **_SSD,
        "vendor": string(pattern=r"[A-Za-z0-9\-_\s]{0,8}", noun="a vendor name of at most 8 characters"),
        **_WWN,
    },
    "virtio": {**_COMMON, **_IOTHREAD, **_READ_ONLY},
    "efidisk": {
        **_FILE,
        "format": _IMAGE_FORMAT,
        "size": _SIZE,
        "efitype": enum("2m", "4m"),
        "pre-enrolled-keys": flag(),
        "ms-cert": enum("2011", "2023", "2023w", "2023k"),
    },
    "tpmstate": {
        **_FILE,
        "format": enum("raw", "qcow2", "vmdk"),
        "size": _SIZE,
        "version": enum("v1.2", "v2.0"),
    },
    "unused": {
        "volume": Property("string", alias="file"),
        "file": string(form="pve-volume-id", required=True, default_key=True),
    },
}
"""By interface; `cdrom` is an ide disk."""

# -- options ----------------------------------------------------------------------------------------------------------


class SchemaOption(NamedTuple):
    """An option of a VM config. `format` names one of PROPERTY_STRINGS or of checks.FORMATS; '' means any text of that type.

    Enumerations, patterns and limits of plain options are left out: PVE's reader does not check them (check_type in
    QemuServer.pm).
    """

    type: Literal["boolean", "integer", "number", "string"]
    format: str = ""


_NUMBER_SET = r"\d+(?:-\d+)?(?:;\d+(?:-\d+)?)*"
_ID_PAIR = "[0-9A-Fa-f]{4}:[0-9A-Fa-f]{4}"
_PCI_ID = string(pattern="0x[0-9a-fA-F]{4}", noun="an ID like 0x10de")
_CPU_FLAG = r"[+-][a-zA-Z0-9\-_.]+"
_BASE64 = string(pattern="[A-Za-z0-9+/]+={0,2}", noun="base64")
_MAPPING = string(form="pve-configid")

NIC_MODELS = (
    "e1000",
    "e1000-82540em",
    "e1000-82544gc",
    "e1000-82545em",
    "e1000e",
    "i82551",
    "i82557b",
    "i82559er",
    "ne2k_isa",
    "ne2k_pci",
    "pcnet",
    "rtl8139",
    "virtio",
    "vmxnet3",
)

VM_CPU_FLAGS = (
    "nested-virt",
    "md-clear",
    "pcid",
    "spec-ctrl",
    "ssbd",
    "ibpb",
    "virt-ssbd",
    "amd-ssbd",
    "amd-no-ssb",
    "pdpe1gb",
    "hv-tlbflush",
    "hv-evmcs",
    "aes",
)
"""The flags a guest's own `cpu` option may set (PVE::QemuServer::CPUFlags); custom models may set any."""

_HOSTPCI: Properties = {
    "host": string(default_key=True, form="pci-addresses"),
    "mapping": _MAPPING,
    "rombar": flag(),
    "romfile": string(pattern="[^,;]+", noun="a file name"),
    "pcie": flag(),
    "x-vga": flag(),
    "legacy-igd": flag(),
    "mdev": string(pattern="[^/.:]+", noun="a type of mediated device"),
    "vendor-id": _PCI_ID,
    "device-id": _PCI_ID,
    "sub-vendor-id": _PCI_ID,
    "sub-device-id": _PCI_ID,
    "driver": enum("vfio", "keep"),
}

_NET: Properties = {
    "macaddr": string(form="mac-addr"),
    "model": enum(*NIC_MODELS, required=True, default_key=True),
    **{model: Property("string", alias="macaddr", key_alias="model") for model in NIC_MODELS},
    "bridge": string(form="pve-bridge-id"),
    "queues": integer(0, 64),
    "rate": number(0),
    "tag": integer(1, 4094),
    "trunks": string(pattern=_NUMBER_SET, noun="a list of VLANs"),
    "firewall": flag(),
    "link_down": flag(),
    "mtu": integer(1, 65520),
    "host-tunnel": flag(),
}

_CPU: Properties = {
    "cputype": string(default_key=True),
    "reported-model": enum(*sorted(QEMU_MODELS)),
    "hidden": flag(),
    "hv-vendor-id": string(pattern="[a-zA-Z0-9]{1,12}", noun="a vendor ID of 1 to 12 letters and digits"),
    "flags": string(pattern=f"{_CPU_FLAG}(?:;{_CPU_FLAG})*", noun="a list of CPU flags (+FLAG;-FLAG)"),
    "guest-phys-bits": integer(32, 64),
    "phys-bits": string(form="pve-phys-bits"),
    "level": integer(0, 2**32 - 1),
}

_MACHINE: Properties = {
    "type": string(default_key=True, form="pve-qemu-machine", max_length=40),
    "viommu": enum("intel", "virtio"),
    "aw-bits": number(32, 64),
    "enable-s3": flag(),
    "enable-s4": flag(),
}

_SMBIOS1: Properties = {
    "uuid": string(pattern="[a-fA-F0-9]{8}(?:-[a-fA-F0-9]{4}){3}-[a-fA-F0-9]{12}", noun="a UUID"),
    "version": _BASE64,
    "serial": _BASE64,
    "manufacturer": _BASE64,
    "product": _BASE64,
    "sku": _BASE64,
    "family": _BASE64,
    "base64": flag(),
}

_DISPLAYS = "cirrus qxl qxl2 qxl3 qxl4 none serial0 serial1 serial2 serial3 std virtio virtio-gl vmware"
_SMALL_FORMATS: Mapping[str, Properties] = {
    "agent": {
        "enabled": flag(required=True, default_key=True),
        "fstrim_cloned_disks": flag(),
        "freeze-fs-on-backup": Property("boolean", alias="freeze-fs"),
        "guest-fsfreeze": Property("boolean", alias="freeze-fs"),
        "freeze-fs": flag(),
        "type": enum("virtio", "isa"),
    },
    "amd-sev": {
        "type": enum("std", "es", "snp", required=True, default_key=True),
        "no-debug": flag(),
        "no-key-sharing": flag(),
        "allow-smt": flag(),
        "kernel-hashes": flag(),
    },
    "audio": {
        "device": enum("ich9-intel-hda", "intel-hda", "AC97", required=True),
        "driver": enum("spice", "none"),
    },
    "boot": {
        "legacy": string(default_key=True, pattern="[acdn]{1,4}", noun="1 to 4 of the letters a, c, d, n"),
        "order": string(form="pve-qm-bootdev-list"),
    },
    "cicustom": {key: string(form="pve-volume-id") for key in ("meta", "network", "user", "vendor")},
    "intel-tdx": {
        "type": enum("tdx", required=True, default_key=True),
        "attestation": flag(required=True),
        "vsock-cid": integer(2),
        "vsock-port": integer(0),
    },
    "ipconfig": {
        "ip": string(form="pve-ipv4-config"),
        "gw": string(form="ipv4", requires="ip"),
        "ip6": string(form="pve-ipv6-config"),
        "gw6": string(form="ipv6", requires="ip6"),
    },
    "ivshmem": {
        "size": integer(1, required=True),
        "name": string(pattern=r"[a-zA-Z0-9\-]+", noun="a name of letters, digits and -"),
    },
    "memory": {"current": integer(16, required=True, default_key=True)},
    "meta": {
        "ctime": integer(0),
        "creation-qemu": string(pattern=r"\d+(?:\.\d+)+", noun="a version"),
    },
    "numa": {
        "cpus": string(pattern=_NUMBER_SET, noun="a list of CPUs", required=True),
        "memory": number(),
        "hostnodes": string(pattern=_NUMBER_SET, noun="a list of NUMA nodes"),
        "policy": enum("preferred", "bind", "interleave"),
    },
    "rng": {
        "source": enum("/dev/urandom", "/dev/random", "/dev/hwrng", required=True, default_key=True),
        "max_bytes": integer(),
        "period": integer(),
    },
    "spice_enhancements": {
        "foldersharing": flag(),
        "videostreaming": enum("off", "all", "filter"),
    },
    "usb": {
        "host": string(
            default_key=True,
            pattern=r"(?:0x)?[0-9A-Fa-f]{4}:(?:0x)?[0-9A-Fa-f]{4}|\d+-\d+(?:\.\d+)*|[Ss][Pp][Ii][Cc][Ee]",
            noun="a USB device, a USB port or spice",
        ),
        "mapping": _MAPPING,
        "usb3": flag(),
    },
    "vga": {
        "type": enum(*_DISPLAYS.split(), default_key=True),
        "memory": integer(4, 512),
        "clipboard": enum("vnc"),
    },
    "virtiofs": {
        "dirid": string(form="pve-configid", required=True, default_key=True),
        "cache": enum("auto", "always", "metadata", "never"),
        "direct-io": flag(),
        "expose-xattr": flag(),
        "expose-acl": flag(),
    },
    "watchdog": {
        "model": enum("i6300esb", "ib700", default_key=True),
        "action": enum("reset", "shutdown", "poweroff", "pause", "debug", "none"),
    },
}

_FULL_PCI_ADDRESS = r"[a-f0-9]{4,}:[a-f0-9]{2}:[a-f0-9]{2}(?:.[a-f0-9])?"
_MAP_ID = string(pattern=_ID_PAIR, noun="a pair VENDOR:DEVICE", required=True)
_MAP_FORMATS: Mapping[str, Properties] = {
    "pci-map": {
        "node": string(form="pve-node", required=True),
        "id": _MAP_ID,
        "subsystem-id": _MAP_ID._replace(required=False),
        "path": string(pattern=f"(?:{_FULL_PCI_ADDRESS};)*{_FULL_PCI_ADDRESS}", noun="a list of PCI addresses", required=True),
        "iommugroup": integer(),
        "description": string(max_length=4096),
    },
    "usb-map": {
        "node": string(form="pve-node", required=True),
        "id": _MAP_ID,
        "path": string(pattern=r"\d+-\d+(?:\.\d+)*", noun="a USB port"),
        "description": string(max_length=4096),
    },
    "dir-map": {
        "node": string(form="pve-node", required=True),
        "path": string(form="pve-storage-path-in-property-string", required=True),
    },
}

PROPERTY_STRINGS: Mapping[str, Properties] = {
    "cpu": _CPU,
    "hostpci": _HOSTPCI,
    "machine": _MACHINE,
    "net": _NET,
    "smbios1": _SMBIOS1,
    **_SMALL_FORMATS,
    **_MAP_FORMATS,
    **DRIVE_FORMATS,
}
"""Every property string by the name of its format; the *-map are those of /etc/pve/mapping (pve-guest-common)."""

_BOOLEANS = "acpi allow-ksm autostart ciupgrade freeze keephugepages kvm localtime numa onboot protection reboot tablet tdf template"
_INTEGERS = "balloon cores cpuunits migrate_speed shares smp snaptime sockets vcpus"
_NUMBERS = "cpulimit migrate_downtime"
_TEXTS = (
    "arch args bios cipassword citype ciuser description hugepages keyboard lock ostype runningcpu running-nets-host-mtu scsihw"
    " searchdomain startdate vmgenid"
)
_WITH_FORMAT = {
    "affinity": "pve-cpuset",
    "agent": "agent",
    "amd-sev": "amd-sev",
    "audio0": "audio",
    "boot": "boot",
    "bootdisk": "pve-qm-bootdisk",
    "cdrom": "ide",
    "cicustom": "cicustom",
    "cpu": "cpu",
    "efidisk0": "efidisk",
    "hookscript": "pve-volume-id",
    "hotplug": "pve-hotplug-features",
    "intel-tdx": "intel-tdx",
    "ivshmem": "ivshmem",
    "machine": "machine",
    "memory": "memory",
    "meta": "meta",
    "name": "dns-name",
    "nameserver": "address-list",
    "parent": "pve-configid",
    "rng0": "rng",
    "runningmachine": "machine",
    "smbios1": "smbios1",
    "spice_enhancements": "spice_enhancements",
    "sshkeys": "urlencoded",
    "startup": "pve-startup-order",
    "tags": "pve-tag-list",
    "tpmstate0": "tpmstate",
    "vga": "vga",
    "vmstate": "pve-volume-id",
    "vmstatestorage": "pve-storage-id",
    "watchdog": "watchdog",
}
_NUMBERED = {
    "hostpci": (16, "hostpci"),
    "ide": (4, "ide"),
    "ipconfig": (32, "ipconfig"),
    "net": (32, "net"),
    "numa": (8, "numa"),
    "parallel": (3, ""),
    "sata": (6, "sata"),
    "scsi": (31, "scsi"),
    "serial": (4, ""),
    "unused": (256, "unused"),
    "usb": (14, "usb"),
    "virtio": (16, "virtio"),
    "virtiofs": (10, "virtiofs"),
}

OPTIONS: Mapping[str, SchemaOption] = {
    **dict.fromkeys(_BOOLEANS.split(), SchemaOption("boolean")),
    **dict.fromkeys(_INTEGERS.split(), SchemaOption("integer")),
    **dict.fromkeys(_NUMBERS.split(), SchemaOption("number")),
    **dict.fromkeys(_TEXTS.split(), SchemaOption("string")),
    **{name: SchemaOption("string", form) for name, form in _WITH_FORMAT.items()},
    **{
        name: option
        for family, (count, form) in _NUMBERED.items()
        for option in (SchemaOption("string", form),)
        for name in (f"{family}{number}" for number in range(count))
    },
}
"""Every option that PVE's reader knows."""

SPECIAL_SECTIONS = ("cloudinit", "fleecing")
"""NAME of [special:NAME]."""

FLEECING_OPTIONS: Mapping[str, SchemaOption] = {"fleecing-images": SchemaOption("string", "pve-volume-id-list")}
"""The options of the section [special:fleecing]."""

# -- other files of PVE -----------------------------------------------------------------------------------------------

_ANY: tuple[str, ...] = ()

HA_RULES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "node-affinity": {
        **dict.fromkeys(("comment", "disable", "nodes", "resources", "strict"), _ANY),
        "affinity": ("positive", "negative"),
    },
    "resource-affinity": {**dict.fromkeys(("comment", "disable", "resources"), _ANY), "affinity": ("positive", "negative")},
}
"""What a rule of /etc/pve/ha/rules.cfg may have, by its type, with the values where they are listed (pve-ha-manager, PVE/HA/Rules)."""

HA_RESOURCES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "vm": {
        **dict.fromkeys(("auto-rebalance", "comment", "failback", "group", "max_relocate", "max_restart"), _ANY),
        "state": ("started", "stopped", "enabled", "disabled", "ignored"),
    },
}
"""The same of the VMs in /etc/pve/ha/resources.cfg (PVE/HA/Resources)."""

STORAGE_TYPES = frozenset(
    (
        *("btrfs", "cephfs", "cifs", "dir", "esxi", "glusterfs", "iscsi", "iscsidirect", "lvm", "lvmthin", "nfs", "pbs", "rbd"),
        *("zfs", "zfspool"),
    )
)
"""Those of /etc/pve/storage.cfg (pve-storage, PVE/Storage.pm)."""
