"""The settings that the hookscript needs, compiled by the daemon: a JSON file, valid while the settings files are unchanged.

It survives a reboot: if the settings files are broken by then, it is the only record of the last valid settings.
"""

from __future__ import annotations

import json
from types import MappingProxyType

from pvehooks import __version__
from pvehooks.values.base import NamedTuple, sha1

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from pvehooks.host import Host

PATH = "/var/lib/pvehooks/settings.json"
CLUSTER_FILE = "/etc/pve/pvehooks/pvehooks.conf"
NODE_FILE = "/etc/pvehooks/pvehooks.conf"

_MAX_BYTES = 1 << 22
_SOURCE_BYTES = 1 << 20
_NOTHING: Mapping[str, str] = MappingProxyType({})


class GuardSettings(NamedTuple):
    """[guard] for a guest; `deadline` in seconds. The defaults are the built-in settings."""

    mode: str = "enforce"
    unbound: str = "bind"
    attach: str = "auto"
    on_error: str = "known"
    deadline: int = 10
    after_stop: str = "keep"


class DeviceSettings(NamedTuple):
    """A section [device ...], by what follows `device` in its header; '' for what it does not set."""

    selector: str
    after_stop: str = ""
    return_to: str = ""
    # Methods with commas, or one of none and remove-rescan.
    reset: str = ""
    # "yes" or "no".
    d3cold: str = ""
    before_start: str = ""

    @property
    def is_rescanned(self) -> bool:
        """Whether the device is taken off the bus and looked for again before each start."""
        return self.before_start == "rescan" or self.reset == "remove-rescan"


class StartSettings(NamedTuple):
    """The settings for a guest's start: [guard], [rules] by rule id, and the reasons of ignored findings by rule id."""

    guard: GuardSettings = GuardSettings()
    severities: Mapping[str, str] = _NOTHING
    ignored: Mapping[str, str] = _NOTHING
    devices: tuple[DeviceSettings, ...] = ()


def write(host: Host, sources: Mapping[str, str], common: StartSettings, guests: Mapping[int, StartSettings]) -> bool:
    """Writes the compiled settings for the hookscript if they have changed; returns whether it did. Raises OSError.

    `sources` are the digests of the settings files; `guests` are those with settings of their own.
    """
    document = {
        "version": __version__,
        "sources": dict(sources),
        "guard": common.guard._asdict(),
        "rules": dict(common.severities),
        "devices": [device._asdict() for device in common.devices],
        "guests": {str(vmid): {"guard": own.guard._asdict(), "ignore": dict(own.ignored)} for vmid, own in guests.items()},
    }
    content = json.dumps(document, sort_keys=True).encode() + b"\n"
    try:
        if host.read(PATH, limit=_MAX_BYTES) == content:
            return False
    except FileNotFoundError:
        host.make_dir(PATH.rpartition("/")[0])
    host.replace(PATH, content, mode=0o644)
    return True


def digest(content: bytes) -> str:
    """The SHA-1 of a settings file's content, in hex."""
    return sha1(content).hex()


def _sources(host: Host) -> dict[str, str]:
    """The digests of the existing settings files; raises OSError."""
    digests = {}
    for path in (CLUSTER_FILE, NODE_FILE):
        try:
            digests[path] = digest(host.read(path, limit=_SOURCE_BYTES))
        except FileNotFoundError:
            continue
    return digests


class CompiledSettings(NamedTuple):
    """The compiled settings of a guest, and the digests of the settings files that they were made from."""

    settings: StartSettings
    sources: Mapping[str, str]

    def is_current(self, host: Host) -> bool:
        """Whether the settings files are unchanged; False also if they cannot be read."""
        try:
            return self.sources == _sources(host)
        except OSError:
            return False


def read(host: Host, vmid: int) -> CompiledSettings | None:
    """The compiled settings of the guest; None if there are none of this version. Raises nothing."""
    try:
        document = json.loads(host.read(PATH, limit=_MAX_BYTES))
        if document["version"] != __version__:
            return None
        guest = document["guests"].get(str(vmid)) or {"guard": document["guard"], "ignore": {}}
        devices = tuple(DeviceSettings(**_texts(device)) for device in document.get("devices", ()))
        settings = StartSettings(GuardSettings(**guest["guard"]), _texts(document["rules"]), _texts(guest["ignore"]), devices)
        return CompiledSettings(settings, _texts(document["sources"])) if isinstance(settings.guard.deadline, int) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def vmids(host: Host) -> list[int]:
    """The guests with settings of their own. Raises nothing."""
    try:
        return [int(vmid) for vmid in json.loads(host.read(PATH, limit=_MAX_BYTES))["guests"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []


def _texts(value: object) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise TypeError
    return value
