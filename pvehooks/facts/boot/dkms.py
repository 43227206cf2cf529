"""Modules that DKMS built, and whether Secure Boot lets the kernel load them (the manual, "Using DKMS/Third Party Modules With Secure Boot")."""

from __future__ import annotations

from pvehooks.facts.boot import firmware
from pvehooks.facts.reading import names_in
from pvehooks.host import Host
from pvehooks.values.base import Unread
from pvehooks.values.boot import Dkms, Kernels

KEY = "/var/lib/dkms/mok.pub"
# shim hands its list of machine owner keys on in pieces: MokListRT, MokListRT1 (its mok.c).
_LISTS = ("MokListRT", "MokListRT1", "MokListRT2", "MokListTrustedRT")


def read(host: Host, kernels: Kernels | Unread) -> Dkms | Unread:
    """The modules of the running kernel."""
    if isinstance(kernels, Unread):
        return kernels
    names = names_in(host, f"/lib/modules/{kernels.running}/updates/dkms")
    modules = tuple(name.partition(".ko")[0] for name in names if ".ko" in name)
    return Dkms(modules, _trusted(host) if modules else None)


def _trusted(host: Host) -> bool | None:
    """Whether the certificate that DKMS signs with (DER) is in one of the lists; None where either cannot be read."""
    try:
        key = host.read(KEY)
    except FileNotFoundError:
        return False
    except OSError:
        return None
    lists = [each for name in _LISTS if (each := firmware.variable(host, name, firmware.SHIM)) is not None]
    if not lists:
        return None if not host.is_dir(firmware.VARIABLES) or not _readable(host) else False
    return bool(key) and any(key in each for each in lists)


def _readable(host: Host) -> bool:
    return firmware.variable(host, "SecureBoot", firmware.GLOBAL) is not None
