"""States of a device that the settings want while a guest has it: how it is reset, whether its power may go. Set at the start, undone after the stop.

Its power goes while nothing has it open: that it may not is kept until vfio-pci does not have it any more.
Source: the kernel's Documentation/ABI/testing/sysfs-bus-pci (reset_method, d3cold_allowed); drivers/vfio/pci/vfio_pci_core.c (vfio_pci_core_disable).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pvehooks.host import Host
    from pvehooks.settings.compiled import DeviceSettings

_DEVICES = "/sys/bus/pci/devices"
_POWER = "d3cold_allowed"
KEPT = "/run/pvehooks/d3cold"
# Disables all resets; an empty write does not reach the kernel.
_NONE = "\n"


def wanted(section: DeviceSettings) -> Mapping[str, str]:
    """What the settings want of a device, by the attribute's name."""
    found = {}
    if section.reset:
        found["reset_method"] = "" if section.reset in ("none", "remove-rescan") else section.reset.replace(",", " ")
    if section.d3cold:
        found[_POWER] = "1" if section.d3cold == "yes" else "0"
    return found


def changes(
    host: Host, address: str, section: DeviceSettings, earlier: Mapping[str, Sequence[str]]
) -> tuple[dict[str, tuple[str, str]], tuple[str, ...]]:
    """What each attribute is and is to be, of those that differ; and sentences about those that the device does not have.

    `earlier` are the changes of a start whose end was not dealt with: what was before that comes back.
    """
    found, troubles = {}, []
    for name, text in wanted(section).items():
        try:
            now = host.read_text(f"{_DEVICES}/{address}/{name}")
        except OSError:
            troubles.append(f"{address} has no {name}: the setting of [device {section.selector}] is not used")
            continue
        if name in earlier and now == earlier[name][1]:
            found[name] = (earlier[name][0], text)
        elif now != text:
            found[name] = (now, text)
    return found, tuple(troubles)


def apply(host: Host, address: str, changed: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Sets them and reads them back; a sentence for each that the kernel does not take."""
    for name, (former, text) in changed.items():
        if not _write(host, address, name, text):
            what = f"cannot be reset by {text.replace(' ', ', ')}" if name == "reset_method" else f"takes no {name} = {text}"
            yield f"{address} {what}: it stays at {former or 'none'}"


def end(host: Host, address: str, changed: Mapping[str, Sequence[str]], is_idle: bool) -> None:
    """Puts back what was before; of one that stays with vfio-pci, `is_idle`, all but whether its power may go: that is noted."""
    left = dict(changed)
    if is_idle and _POWER in left:
        former, text = left.pop(_POWER)
        host.make_dir(KEPT, mode=0o700)
        host.replace(f"{KEPT}/{address}", f"{former} {text}\n".encode(), mode=0o600)
    undo(host, address, left)


def kept(host: Host, address: str) -> dict[str, tuple[str, str]]:
    """What end() has left as the settings wanted it, as it has that itself."""
    try:
        former, text = host.read_text(f"{KEPT}/{address}").split()
    except (OSError, ValueError):
        return {}
    return {_POWER: (former, text)}


def put_back(host: Host, address: str) -> None:
    """Puts back what end() has left."""
    left = kept(host, address)
    if left:
        undo(host, address, left)
        host.remove(f"{KEPT}/{address}")


def undo(host: Host, address: str, changed: Mapping[str, Sequence[str]]) -> None:
    """Puts back what was before, where nothing else has set it meanwhile."""
    for name, (former, text) in changed.items():
        try:
            is_ours = host.read_text(f"{_DEVICES}/{address}/{name}") == text
        except OSError:
            continue
        if is_ours:
            _write(host, address, name, former)


def _write(host: Host, address: str, name: str, text: str) -> bool:
    path = f"{_DEVICES}/{address}/{name}"
    try:
        host.write_attribute(path, text or _NONE)
        return host.read_text(path) == text
    except OSError:
        return False
