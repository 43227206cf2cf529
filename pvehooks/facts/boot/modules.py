"""Kernel modules: vfio's, what is loaded at boot, what is blacklisted, and whether the initramfs has these settings."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pvehooks.facts.boot import firmware
from pvehooks.facts.node import moduleoptions
from pvehooks.facts.reading import names_in, unread
from pvehooks.host import Host
from pvehooks.values.base import Unread
from pvehooks.values.boot import Dkms, Kernels, Modules

VFIO = ("vfio", "vfio_iommu_type1", "vfio_pci")
_DEP_LIMIT = 1 << 24
_LISTS = ("/etc/modules-load.d", "/run/modules-load.d", "/usr/lib/modules-load.d")
# A file of modprobe.d with one of these decides which driver gets a device.
_MATTERS = re.compile(r"^\s*(?:blacklist|softdep|install)\s|^\s*options\s+vfio", re.MULTILINE)
_NOTHING = ("/bin/false", "/bin/true", "/usr/bin/false", "/usr/bin/true", "false", "true")
_DRIVERS = "/sys/bus/pci/drivers"


def read(host: Host, kernels: Kernels | Unread) -> Modules | Unread:
    """What is known of the modules of the running kernel."""
    if isinstance(kernels, Unread):
        return kernels
    try:
        files = [(path, host.read_text(path)) for path in moduleoptions.files(host)]
        arguments = moduleoptions.arguments(host)
    except OSError as error:
        return unread(f"the settings of modprobe: {error.filename}", error)
    initramfs = f"/boot/initrd.img-{kernels.next}"
    return Modules(
        kernels.running,
        dict(_states(host, kernels.running)),
        tuple(_listed(host)),
        tuple(_denied(files, arguments)),
        dict(_drivers(host)),
        initramfs,
        tuple(_edited(host, files, initramfs)) if kernels.next else (),
    )


def _states(host: Host, release: str) -> Iterator[tuple[str, str]]:
    builtin = _bytes(host, f"/lib/modules/{release}/modules.builtin")
    there = _bytes(host, f"/lib/modules/{release}/modules.dep")
    for name in VFIO:
        pattern = re.compile(rb"(?:^|[/\s])" + name.replace("_", "[-_]").encode() + rb"\.ko\b")
        if builtin and pattern.search(builtin):
            yield name, "built in"
        elif host.is_dir(f"/sys/module/{name}"):
            yield name, "loaded"
        elif there and pattern.search(there):
            yield name, "there"
        else:
            hidden = builtin is None or there is None or not host.is_dir("/lib/modules")
            yield name, "unknown" if hidden else "missing"


def _bytes(host: Host, path: str) -> bytes | None:
    """What is in the file; None where that cannot be known: ProtectKernelModules= keeps the daemon from them (systemd.exec(5))."""
    try:
        return host.read(path, _DEP_LIMIT)
    except (FileNotFoundError, NotADirectoryError):
        return b""
    except OSError:
        return None


def _listed(host: Host) -> Iterator[tuple[str, str]]:
    """modules-load.d(5), and /etc/modules, to which Debian has a link there."""
    seen = set()
    for directory in _LISTS:
        try:
            names = host.names(directory)
        except OSError:
            continue
        paths = [f"{directory}/{name}" for name in names if name.endswith(".conf") and name not in seen]
        seen.update(names)
        for path in paths:
            if host.real(path) != "/etc/modules":
                yield from _lines(host, path)
    yield from _lines(host, "/etc/modules")


def _lines(host: Host, path: str) -> Iterator[tuple[str, str]]:
    try:
        text = host.read_text(path)
    except OSError:
        return
    for line in text.split("\n"):
        words = line.split()
        if words and words[0][0] not in "#;":
            yield words[0].replace("-", "_"), path


def _denied(files: list[tuple[str, str]], arguments: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """modprobe.d(5): blacklist, and install with a program that does nothing; the kernel's arguments module_blacklist, modprobe.blacklist."""
    for path, text in files:
        for line in text.replace("\\\n", " ").split("\n"):
            words = line.split()
            if len(words) > 1 and (words[0] == "blacklist" or (words[0] == "install" and words[2:3] and words[2] in _NOTHING)):
                yield words[1].replace("-", "_"), path
    for name, value in arguments:
        if name in ("module_blacklist", "modprobe.blacklist"):
            for module in filter(None, value.split(",")):
                yield module.replace("-", "_"), "the kernel command line"


def _drivers(host: Host) -> Iterator[tuple[str, str]]:
    """The module of each PCI driver that has one."""
    try:
        names = host.names(_DRIVERS)
    except OSError:
        return
    for name in names:
        try:
            yield name, host.link_name(f"{_DRIVERS}/{name}/module")
        except OSError:
            continue


def _edited(host: Host, files: list[tuple[str, str]], initramfs: str) -> Iterator[str]:
    """The files of /etc that decide which driver gets a device and are newer than the initramfs, by at least a second."""
    try:
        made = host.modified(initramfs)
    except OSError:
        return
    for path, text in files:
        try:
            if path.startswith("/etc/") and _MATTERS.search(text) and host.modified(path) > made + 1:
                yield path
        except OSError:
            continue


# -- modules that DKMS built (the manual, "Using DKMS/Third Party Modules With Secure Boot") ------------------------------

_DKMS_KEY = "/var/lib/dkms/mok.pub"
# shim hands its list of machine owner keys on in pieces: MokListRT, MokListRT1 (its mok.c).
_KEY_LISTS = ("MokListRT", "MokListRT1", "MokListRT2", "MokListTrustedRT")


def dkms(host: Host, kernels: Kernels | Unread) -> Dkms | Unread:
    """The modules of the running kernel."""
    if isinstance(kernels, Unread):
        return kernels
    names = names_in(host, f"/lib/modules/{kernels.running}/updates/dkms")
    modules = tuple(name.partition(".ko")[0] for name in names if ".ko" in name)
    return Dkms(modules, _trusted(host) if modules else None)


def _trusted(host: Host) -> bool | None:
    """Whether the certificate that DKMS signs with (DER) is in one of the lists; None where either cannot be read."""
    try:
        key = host.read(_DKMS_KEY)
    except FileNotFoundError:
        return False
    except OSError:
        return None
    lists = [each for name in _KEY_LISTS if (each := firmware.variable(host, name, firmware.SHIM)) is not None]
    if not lists:
        return None if not host.is_dir(firmware.VARIABLES) or not _readable(host) else False
    return bool(key) and any(key in each for each in lists)


def _readable(host: Host) -> bool:
    return firmware.variable(host, "SecureBoot", firmware.GLOBAL) is not None
