"""What qm accepts as an option and its value (qemu-server 9.2.6: QemuServer.pm's confdesc), as far as the bed needs it.

Written for the bed alone: it must not share code with the project, whose parser it serves as an oracle for.
"""

from __future__ import annotations

import re


class Refused(Exception):
    """A value that fails its format, with PVE's words (without the last newline)."""


BOOLEANS = set(
    "onboot autostart reboot numa keephugepages acpi kvm tdf localtime freeze template tablet protection allow-ksm ciupgrade".split()
)
INTEGERS = set("cpuunits balloon shares smp sockets cores vcpus migrate_speed snaptime".split())
NUMBERS = {"cpulimit", "migrate_downtime"}
STRINGS = set(
    "hotplug lock memory amd-sev intel-tdx keyboard name scsihw description ostype boot bootdisk hugepages agent vga "
    "watchdog startdate startup args cdrom cpu parent vmstate vmstatestorage runningmachine runningcpu "
    "running-nets-host-mtu machine arch smbios1 bios vmgenid hookscript ivshmem audio0 spice_enhancements tags rng0 "
    "meta affinity efidisk0 tpmstate0 citype ciuser cipassword cicustom searchdomain nameserver sshkeys".split()
)
COUNTED = {
    "numa": 8, "virtiofs": 10, "net": 32, "ipconfig": 32, "parallel": 3, "serial": 4, "hostpci": 16, "usb": 14,
    "ide": 4, "sata": 6, "scsi": 31, "virtio": 16, "unused": 256,
}  # fmt: skip
"""Options with a number, and how many there are of each."""

DRIVE = re.compile(r"(ide|sata|scsi|virtio|efidisk|tpmstate)\d+")
FAST_PLUG = set(
    "description hookscript lock migrate_downtime migrate_speed name onboot protection shares startup tags vmstatestorage".split()
)
"""Options that `qm set` changes at once on a running guest."""

PCI_ID = r"(?:[a-f0-9]{4,}:)?[a-f0-9]{2}:[a-f0-9]{2}(?:\.[a-f0-9])?"
HEX_ID = re.compile(r"0x[0-9a-fA-F]{4}")
NIC_MODELS = (
    "e1000 e1000-82540em e1000-82544gc e1000-82545em e1000e i82551 i82557b i82559er ne2k_isa ne2k_pci pcnet rtl8139 virtio vmxnet3"
).split()

Kind = str | int | tuple[str, ...] | re.Pattern[str]
"""A type by its name, the least an integer may be, an enumeration, or a pattern."""

RNG: dict[str, Kind] = {
    "source": ("/dev/urandom", "/dev/random", "/dev/hwrng"),
    "max_bytes": "integer",
    "period": "integer",
}
HOSTPCI: dict[str, Kind] = {
    "host": re.compile(f"{PCI_ID}(;{PCI_ID})*"),
    "mapping": "configid",
    "rombar": "boolean",
    "romfile": re.compile("[^,;]+"),
    "pcie": "boolean",
    "x-vga": "boolean",
    "legacy-igd": "boolean",
    "mdev": re.compile(r"[^/.:]+"),
    "vendor-id": HEX_ID,
    "device-id": HEX_ID,
    "sub-vendor-id": HEX_ID,
    "sub-device-id": HEX_ID,
    "driver": ("vfio", "keep"),
}
NET: dict[str, Kind] = {
    "model": tuple(NIC_MODELS),
    "macaddr": "mac",
    "bridge": "string",
    "queues": "integer",
    "rate": "number",
    "tag": "integer",
    "trunks": "string",
    "firewall": "boolean",
    "link_down": "boolean",
    "mtu": "integer",
    "host-tunnel": "boolean",
}
BOOT: dict[str, Kind] = {"legacy": re.compile("[acdn]{1,4}"), "order": "devices"}
MEMORY: dict[str, Kind] = {"current": 16}
AGENT: dict[str, Kind] = {
    "enabled": "boolean",
    "fstrim_cloned_disks": "boolean",
    "freeze-fs": "boolean",
    "freeze-fs-on-backup": "boolean",
    "guest-fsfreeze": "boolean",
    "type": ("virtio", "isa"),
}
VGA_TYPES = tuple("cirrus qxl qxl2 qxl3 qxl4 none serial0 serial1 serial2 serial3 std virtio virtio-gl vmware".split())
VGA: dict[str, Kind] = {"type": VGA_TYPES, "memory": "integer", "clipboard": ("vnc",)}
USB: dict[str, Kind] = {
    "host": re.compile(r"(0x)?[0-9A-Fa-f]{4}:(0x)?[0-9A-Fa-f]{4}|\d+-\d+(\.\d+)*|spice", re.IGNORECASE),
    "mapping": "string",
    "usb3": "boolean",
}
SMBIOS: dict[str, Kind] = {
    "uuid": re.compile(r"[a-fA-F0-9]{8}(?:-[a-fA-F0-9]{4}){3}-[a-fA-F0-9]{12}"),
    **dict.fromkeys(("version", "serial", "manufacturer", "product", "sku", "family"), "string"),
    "base64": "boolean",
}
NUMA: dict[str, Kind] = {"cpus": "string", "memory": "number", "hostnodes": "string", "policy": "string"}
DRIVE_OPTIONS: dict[str, Kind] = {
    "file": "volume",
    **dict.fromkeys(("backup", "ro", "iothread", "replicate", "shared", "snapshot", "ssd", "detect_zeroes"), "boolean"),
    **dict.fromkeys("bps bps_rd bps_wr iops iops_max iops_rd iops_wr cyls heads secs queues".split(), "integer"),
    **dict.fromkeys("mbps mbps_max mbps_rd mbps_rd_max mbps_wr mbps_wr_max".split(), "number"),
    **dict.fromkeys("iops_rd_max iops_wr_max bps_max_length bps_rd_max_length bps_wr_max_length".split(), "integer"),
    **dict.fromkeys("iops_max_length iops_rd_max_length iops_wr_max_length".split(), "integer"),
    **dict.fromkeys("aio cache discard format media model rerror werror serial size trans wwn".split(), "string"),
    **dict.fromkeys("product vendor import-from".split(), "string"),
    "scsiblock": "boolean",
    "pre-enrolled-keys": "boolean",
    "ms-cert": "string",
    "efitype": ("2m", "4m"),
    "version": ("v1.2", "v2.0"),
}

PROPERTY_STRINGS: dict[str, tuple[dict[str, Kind], str, tuple[str, ...], dict[str, str]]] = {
    "rng": (RNG, "source", ("source",), {}),
    "hostpci": (HOSTPCI, "host", (), {}),
    "net": (NET, "model", ("model",), dict.fromkeys(NIC_MODELS, "macaddr")),
    "boot": (BOOT, "legacy", (), {}),
    "memory": (MEMORY, "current", ("current",), {}),
    "agent": (AGENT, "enabled", ("enabled",), {}),
    "vga": (VGA, "type", (), {}),
    "usb": (USB, "host", (), {}),
    "smbios": (SMBIOS, "", (), {}),
    "numa": (NUMA, "", ("cpus",), {}),
    "drive": (DRIVE_OPTIONS, "file", ("file",), {"volume": "file"}),
    "unused": ({"file": "volume"}, "file", ("file",), {"volume": "file"}),
}
"""By option: its keys, the key that may stand without a name, the keys it must have, and aliases."""

ALIASED_BY_NAME = "model"
"""`virtio=MAC` sets two keys: the alias names the model, its value is the address (net only)."""


def is_option(key: str) -> bool:
    """Whether PVE knows an option of this name."""
    if key in BOOLEANS or key in INTEGERS or key in NUMBERS or key in STRINGS:
        return True
    match = re.fullmatch(r"([a-z]+)(0|[1-9]\d*)", key, re.ASCII)
    return match is not None and int(match[2]) < COUNTED.get(match[1], 0)


def boolean(value: str) -> str | None:
    """PVE's booleans, or None."""
    if re.fullmatch("1|on|yes|true", value, re.IGNORECASE):
        return "1"
    return "0" if re.fullmatch("0|off|no|false", value, re.IGNORECASE) else None


def check_value(key: str, value: str) -> str:
    """The value as PVE stores it; Refused where it fails its type or format (PVE::QemuServer::check_type)."""
    if not is_option(key):
        raise Refused(f"unknown setting '{key}'")
    if "\r" in value or "\n" in value:
        raise Refused("property contains a line feed")
    if key in BOOLEANS:
        flag = boolean(value)
        if flag is None:
            raise Refused(f"type check ('boolean') failed - got '{value}'")
        return flag
    if key in INTEGERS:
        if not re.fullmatch(r"\d+", value, re.ASCII):
            raise Refused(f"type check ('integer') failed - got '{value}'")
        return str(int(value))
    if key in NUMBERS:
        if not re.fullmatch(r"\d+(\.\d+)?", value, re.ASCII):
            raise Refused(f"type check ('number') failed - got '{value}'")
        return value
    kind = "drive" if DRIVE.fullmatch(key) or key == "cdrom" else key.rstrip("0123456789")
    if kind in PROPERTY_STRINGS:
        faults = property_faults(kind, value)
        if faults:
            raise Refused("\n".join(["format error", *faults]))
        return value
    if key in ("name", "hookscript", "vmstate", "startup", "tags"):
        _check_simple(key, value)
        return value
    return re.sub(r'^"(.*)"$', r"\1", value)


TAG_GAP = re.compile(r"[,;\s]+", re.ASCII)


def _check_simple(key: str, value: str) -> None:
    label = "[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?"
    if key == "name" and not re.fullmatch(rf"{label}(\.{label})*", value):
        raise Refused("value does not look like a valid DNS name")
    if key in ("hookscript", "vmstate") and not re.fullmatch(r"[a-z][a-z0-9\-_.]*[a-z0-9]:.+", value, re.IGNORECASE):
        raise Refused(f"unable to parse volume ID '{value}'")
    if key == "tags" and not all(re.fullmatch(r"[a-zA-Z0-9_][a-zA-Z0-9_\-+.]*", tag) for tag in TAG_GAP.split(value)):
        raise Refused("invalid characters in tag")
    if key == "startup" and not re.fullmatch(r"(order=)?\d+(,(up|down)=\d+)*|((order|up|down)=\d+,?)+", value):
        raise Refused("unable to parse startup options")


BOOT_DEVICE = re.compile(r"(ide|sata|scsi|virtio|net|usb|hostpci)\d+", re.ASCII)
UNDEFINED = "property is not defined in schema and the schema does not allow additional properties"
VOLUME = re.compile(r"/.*|none|cdrom|[a-z][a-z0-9\-_.]*[a-z0-9]:.+", re.IGNORECASE)


def property_faults(kind: str, value: str) -> list[str]:
    """What is wrong with a property string, a line each as PVE words it (PVE::JSONSchema::parse_property_string)."""
    keys, default, required, aliases = PROPERTY_STRINGS[kind]
    found: dict[str, str] = {}
    for part in value.split(","):
        if not part.strip():
            continue
        name, equals, text = part.partition("=")
        if not equals:
            if not default:
                raise Refused("value without key, but schema does not define a default key")
            if default in found:
                raise Refused(f"duplicate key in comma-separated list property: {default}")
            found[default] = text = part
            continue
        if not name or not text:
            raise Refused("missing key in comma-separated list property")
        if name in found:
            raise Refused(f"duplicate key in comma-separated list property: {name}")
        if name in aliases:
            if ALIASED_BY_NAME in keys:
                if ALIASED_BY_NAME in found:
                    raise Refused(f"key alias '{ALIASED_BY_NAME}' is already defined")
                found[ALIASED_BY_NAME] = name
            name = aliases[name]
        found[name] = text
    faults = [_fault(name, text, keys[name]) if name in keys else f"{name}: {UNDEFINED}" for name, text in found.items()]
    missing = [f"{name}: property is missing and it is not optional" for name in required if name not in found]
    return sorted([fault for fault in faults if fault] + missing)


def _fault(name: str, value: str, kind: Kind) -> str | None:
    if isinstance(kind, tuple):
        if value in kind:
            return None
        return f"{name}: value '{value}' does not have a value in the enumeration '{', '.join(kind)}'"
    if isinstance(kind, int):
        if not re.fullmatch(r"[+-]?\d+", value, re.ASCII):
            return f"{name}: type check ('integer') failed - got '{value}'"
        return None if int(value) >= kind else f"{name}: value must have a minimum value of {kind}"
    if kind == "volume":
        return None if VOLUME.fullmatch(value) else f"{name}: invalid format - unable to parse volume ID '{value}'\n"
    if kind == "devices":
        bad = [device for device in re.split("[;, ]+", value) if not BOOT_DEVICE.fullmatch(device)]
        return f"{name}: invalid format - invalid boot device '{bad[0]}'\n" if bad else None
    if kind == "mac":
        good_mac = re.fullmatch(r"[a-fA-F0-9]{2}(:[a-fA-F0-9]{2}){5}", value) and not int(value[1], 16) & 1
        return None if good_mac else f"{name}: invalid format - value does not look like a valid unicast MAC address\n"
    if kind == "configid":
        good_id = re.fullmatch("[a-zA-Z][a-zA-Z0-9_-]+", value)
        return None if good_id else f"{name}: invalid format - invalid configuration ID '{value}'\n"
    if isinstance(kind, re.Pattern):
        return None if kind.fullmatch(value) else f"{name}: value does not match the regex pattern"
    good = {
        "boolean": boolean(value) is not None,
        "integer": re.fullmatch(r"[+-]?\d+", value, re.ASCII) is not None,
        "number": re.fullmatch(r"[+-]?\d+(\.\d+)?", value, re.ASCII) is not None,
        "string": True,
    }[kind]
    return None if good else f"{name}: type check ('{kind}') failed - got '{value}'"
