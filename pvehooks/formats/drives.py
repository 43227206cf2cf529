"""The property strings of disks, as PVE/QemuServer/Drive.pm (qemu-server 9.2) declares them."""

from collections.abc import Mapping

from pvehooks.formats.properties import Property, enum, flag, integer, number, string

_FILE: Mapping[str, Property] = {
    "volume": Property("string", alias="file"),
    "file": string(form="pve-volume-id-or-qm-path", required=True, default_key=True),
}
_SIZE = string(form="disk-size")
_IMAGE_FORMAT = enum("raw", "qcow", "qed", "qcow2", "vmdk", "cloop")
_SPEEDS = ("bps", "bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr")
_POOLS = ("iops_max", "iops_rd_max", "iops_wr_max")
_MEGABYTES = ("mbps", "mbps_rd", "mbps_wr", "mbps_max", "mbps_rd_max", "mbps_wr_max")
_BURSTS = tuple(f"{speed}_max_length" for speed in _SPEEDS)

_COMMON: Mapping[str, Property] = {
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

DRIVE_FORMATS: Mapping[str, Mapping[str, Property]] = {
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
