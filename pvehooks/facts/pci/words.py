"""What a person calls a PCI device: the names of pci.ids (https://pci-ids.ucw.cz), or its class in words."""

from __future__ import annotations

import re

# As Debian's package pci.ids installs it, where PVE looks too (pve-common, SysFSTools.pm), and as others do.
FILES = ("/usr/share/misc/pci.ids", "/usr/share/hwdata/pci.ids")
# Names with their ids in brackets are at most this long.
_LONGEST = 60
_NEXT_VENDOR = re.compile(rb"\n[0-9A-Fa-f]")
# Parts of company names that do not help to find a device.
_COMPANY = re.compile(
    r"[\s,]+(?:and subsidiaries|corporation|corp|incorporated|inc|co|company|ltd|limited|llc|gmbh|ag|electronics|semiconductor|technology"
    r"|technologies|group|systems)\.?$",
    re.IGNORECASE,
)
# Class, or base class with 0xff for the subclass: its words, and the parts of a name that mean the same.
_CLASSES = {
    0x0108: ("NVMe disk", ("nvme", "nvm express", "ssd")),
    0x0106: ("SATA controller", ("sata", "ahci")),
    0x0107: ("SAS controller", ("sas", "raid")),
    0x01FF: ("storage controller", ("storage", "raid", "scsi", "sas", "sata", "disk", "block", "ide")),
    0x0200: ("Ethernet controller", ("ethernet", "network", "nic")),
    0x0280: ("network controller", ("network", "wireless", "wi-fi", "wlan", "802.11")),
    0x02FF: ("network controller", ("ethernet", "network", "infiniband", "connectx")),
    0x03FF: ("graphics card", ("graphics", "geforce", "radeon", "quadro", "tesla", "vga", "gpu", "display", "video")),
    0x0401: ("audio device", ("audio", "sound")),
    0x0403: ("audio device", ("audio", "sound", "azalia")),
    0x04FF: ("multimedia device", ("audio", "sound", "video", "capture", "tv")),
    0x05FF: ("memory controller", ("memory", "sram", "cxl")),
    0x0600: ("host bridge", ("bridge", "host", "root complex", "dram")),
    0x0601: ("ISA bridge", ("isa", "lpc", "espi")),
    0x0604: ("PCI bridge", ("bridge", "root port", "switch", "pci")),
    0x06FF: ("bridge", ("bridge", "fabric")),
    0x07FF: ("communication controller", ("serial", "uart", "communication", "mei", "modem", "console")),
    0x08FF: ("system device", ("iommu", "sd host", "system", "dma", "timer")),
    0x09FF: ("input device", ("input", "keyboard", "mouse", "gameport")),
    0x0BFF: ("processor", ("processor", "crypto")),
    0x0C03: ("USB controller", ("usb", "thunderbolt", "hci")),
    0x0C05: ("SMBus", ("smbus",)),
    0x0CFF: ("serial bus controller", ("spi", "i2c", "firewire", "1394", "infiniband", "bus")),
    0x0DFF: ("wireless controller", ("wireless", "bluetooth", "wi-fi")),
    0x0EFF: ("intelligent controller", ("i2o", "intelligent")),
    0x0FFF: ("satellite controller", ("satellite", "dvb")),
    0x10FF: ("encryption controller", ("crypt", "security", "psp", "ccp", "trusted")),
    0x11FF: ("signal processing controller", ("signal", "thermal", "monitor", "telemetry", "performance", "sensor")),
    0x12FF: ("accelerator", ("accelerator", "tpu", "npu", "gpu")),
    0x13FF: ("system device", ("function", "reserved", "dummy")),
    0x40FF: ("co-processor", ("processor",)),
}


def words(ids: bytes, vendor: int, device: int, class_code: int) -> str:
    """The name by the text of a pci.ids ("Samsung NVMe SSD Controller SM981 [144d:a808]"); numbers that are not known are -1."""
    kind, hints = _class_words(class_code)
    if vendor < 0 or device < 0:
        return kind
    maker, model = _names(ids, vendor, device)
    if maker and model.lower().startswith(maker.lower()):
        maker = ""
    tail = f" [{vendor:04x}:{device:04x}]"
    name = _shortened(f"{maker} {model}".strip(), _LONGEST - len(tail))
    if not model or not any(hint in name.lower() for hint in hints):
        name = _shortened(" ".join(filter(None, (maker, kind, model))), _LONGEST - len(tail))
    return name + tail


def _class_words(class_code: int) -> tuple[str, tuple[str, ...]]:
    """The class in words, and the parts of names that say the same."""
    if class_code < 0:
        return "PCI device", ()
    return _CLASSES.get(class_code >> 8) or _CLASSES.get(class_code >> 8 | 0xFF) or ("PCI device", ())


def _names(ids: bytes, vendor: int, device: int) -> tuple[str, str]:
    """What pci.ids calls the vendor and the device, both shortened; '' for what it does not know."""
    head = b"%04x  " % vendor
    # The list of a capture begins with a vendor, not with comments.
    start = 0 if ids.startswith(head) else ids.find(b"\n" + head) + 1
    if not ids.startswith(head, start):
        return "", ""
    maker = _short_vendor(_rest_of_line(ids, start + 6))
    found = ids.find(b"\n\t%04x  " % device, start)
    if found < 0 or _NEXT_VENDOR.search(ids, start, found):
        return maker, ""
    return maker, _short_model(_rest_of_line(ids, found + 8))


def _rest_of_line(ids: bytes, start: int) -> str:
    end = ids.find(b"\n", start)
    text = ids[start : end if end >= 0 else len(ids)].decode("utf-8", "replace")
    return "".join(char if char.isprintable() else "?" for char in text.strip())


def _short_vendor(name: str) -> str:
    """Intel Corporation: Intel; Advanced Micro Devices, Inc. [AMD/ATI]: AMD."""
    head, bracket, inner = name.partition(" [")
    if bracket:
        return inner.rstrip("]").split("/")[0]
    head = head.split(" / ")[0]
    while (shorter := _COMPANY.sub("", head).rstrip(" ,.")) and shorter != head:
        head = shorter
    return head


def _short_model(name: str) -> str:
    """GA102 [GeForce RTX 3090]: GeForce RTX 3090, for what is in brackets is what is sold."""
    head, bracket, inner = name.rpartition(" [")
    return inner[:-1] if bracket and head and inner.endswith("]") else name


def _shortened(name: str, width: int) -> str:
    """At most `width` characters, ended between two words."""
    if len(name) <= width:
        return name
    return name[: width - 2].rpartition(" ")[0].rstrip(" ,/(-") + "..."
