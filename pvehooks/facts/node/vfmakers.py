"""What an administrator had make virtual functions at boot: units of systemd, rc.local, cron; and whether it runs before guests start."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pvehooks.facts.reading import listing_of, names_in, text_of
from pvehooks.host import Host
from pvehooks.values.base import Unread
from pvehooks.values.pci import last_pci_address
from pvehooks.values.settingfiles import VfMaker

_UNITS = "/etc/systemd/system"
_NET = "/sys/class/net"
_ATTRIBUTE = "sriov_numvfs"
_WRITTEN = re.compile(r"(/sys/[\w./:*$-]*)/sriov_numvfs")
_SCRIPT = re.compile(
    r"^\s*Exec(?:Start|StartPre|StartPost)=[-@:+!]*(?:/bin/(?:ba|da)?sh\s+)?(/(?:usr/local|opt|etc|root)/[\w./-]+)\s*$", re.MULTILINE
)
# A unit whose scripts are worth a look: scripts may be large and hold anything.
_ABOUT_VFS = re.compile(r"sr-?iov|vfs?\b|numvfs|virtual.function", re.IGNORECASE)
_BEFORE = re.compile(r"^\s*(Before|WantedBy|RequiredBy)\s*=(.*)$", re.MULTILINE)
# What pve-guests.service is ordered after, or what comes before all that (its unit file in pve-manager).
_EARLY = frozenset(
    "pve-guests.service pve-ha-lrm.service pve-ha-crm.service pveproxy.service pvestatd.service pve-firewall.service lxc.service"
    " pvedaemon.service pve-cluster.service networking.service network-pre.target network.target network-online.target"
    " basic.target sysinit.target local-fs.target".split()
)
_TABS = ("/etc/crontab", "/var/spool/cron/crontabs/root")


def read(host: Host) -> tuple[VfMaker, ...] | Unread:
    """The makers that are enabled; those that pvehooks itself has made at boot are left out."""
    there = listing_of(host, "/etc")
    if isinstance(there, Unread):
        return there
    return (*_units(host), *_others(host))


def _units(host: Host) -> Iterator[VfMaker]:
    enabled = {
        name
        for directory in names_in(host, _UNITS)
        if directory.endswith((".wants", ".requires"))
        for name in names_in(host, f"{_UNITS}/{directory}")
    }
    for name in names_in(host, _UNITS):
        if not name.endswith(".service") or name not in enabled or name.startswith("pvehooks"):
            continue
        text = text_of(host, f"{_UNITS}/{name}")
        scripts = "".join(text_of(host, path) for path in _SCRIPT.findall(text)) if _ABOUT_VFS.search(f"{name}\n{text}") else ""
        if _ATTRIBUTE in text + scripts:
            drop_ins = "".join(text_of(host, f"{_UNITS}/{name}.d/{each}") for each in names_in(host, f"{_UNITS}/{name}.d"))
            words = {word for _, value in _BEFORE.findall(f"{text}\n{drop_ins}") for word in value.split()}
            yield VfMaker(f"{_UNITS}/{name}", name, bool(words & _EARLY), _devices(host, text + scripts))


def _others(host: Host) -> Iterator[VfMaker]:
    """rc-local.service and cron are not ordered before guests."""
    text = text_of(host, "/etc/rc.local")
    if any(_ATTRIBUTE in line for line in text.split("\n") if not line.lstrip().startswith("#")):
        yield VfMaker("/etc/rc.local", "", False, _devices(host, text))
    for path in (*_TABS, *(f"/etc/cron.d/{name}" for name in names_in(host, "/etc/cron.d"))):
        lines = [line for line in text_of(host, path).split("\n") if line.lstrip().startswith("@reboot") and _ATTRIBUTE in line]
        if lines:
            yield VfMaker(path, "", False, _devices(host, "\n".join(lines)))


def _devices(host: Host, text: str) -> tuple[str, ...]:
    """The addresses of the PFs that a text writes to; none where it does not name them as they are."""
    found = []
    for path in _WRITTEN.findall(text):
        address = last_pci_address(path)
        if not address and path.startswith(f"{_NET}/") and path.endswith("/device"):
            try:
                address = last_pci_address(host.link_text(path.removesuffix("/device")))
            except OSError:
                address = ""
        if address:
            found.append(address)
    return tuple(dict.fromkeys(found))
