"""The settings in effect, and where each was set.

Layers: built-in defaults < the cluster's file < the node's file < [guest VMID] sections, of which the node's take precedence over
the cluster's option by option.
"""

from __future__ import annotations

from pvehooks.settings.compiled import DeviceSettings, GuardSettings, StartSettings
from pvehooks.settings.file import header, shown
from pvehooks.settings.sections import (
    ClusterSettings,
    FirmwareSettings,
    GuiSettings,
    MetricsSettings,
    NotifySettings,
    RngSettings,
    WatchSettings,
)
from pvehooks.settings.table import Value, did_you_mean, nearest, written
from pvehooks.values.base import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from typing import Any

    from pvehooks.settings.file import SectionPath

BUILT_IN = "built-in"


class Origin(NamedTuple):
    """A line of a settings file; the built-in settings have no file."""

    file: str = ""
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}, line {self.line}" if self.file else BUILT_IN


class Setting(NamedTuple):
    """A value and where it was set."""

    value: Value
    place: Origin = Origin()


class Row(NamedTuple):
    """A line of the table of settings."""

    # As written in a file.
    section: str
    option: str
    value: str
    # "built-in", or file and line.
    origin: str


class Settings(NamedTuple):
    """The settings in effect."""

    # By section and option.
    common: Mapping[tuple[str, str], Setting]
    # What [guest VMID] sections set: by VMID, then as `common`.
    by_guest: Mapping[int, Mapping[tuple[str, str], Setting]]
    # By rule id.
    rules: Mapping[str, Setting]
    # By VMID, then by rule id.
    ignores: Mapping[int, Mapping[str, Setting]]
    # What [device ...] sections set: by what follows `device`, then by option.
    by_device: Mapping[str, Mapping[str, Setting]]
    # Those that were read.
    files: tuple[str, ...]
    general_rng: RngSettings
    # The digests of the files.
    sources: Mapping[str, str]
    # For the start of a guest without settings of its own, which most are; None: not worked out yet.
    general_start: StartSettings | None = None

    def rng(self, vmid: int | None = None) -> RngSettings:
        """[rng] for that guest, or in general."""
        if vmid not in self.by_guest:
            return self.general_rng
        return RngSettings._make(self._setting("rng", name, vmid).value for name in RngSettings._fields)

    def guard(self, vmid: int | None = None) -> GuardSettings:
        """[guard] for that guest, or in general."""
        return GuardSettings._make(self._setting("guard", name, vmid).value for name in GuardSettings._fields)

    def start_settings(self, vmid: int | None = None) -> StartSettings:
        """The settings for the start of that guest, or (None) of any other."""
        if self.general_start is not None and vmid not in self.by_guest and vmid not in self.ignores:
            return self.general_start
        return StartSettings(self.guard(vmid), self.severities, self.ignored(vmid) if vmid is not None else {}, self.devices)

    @property
    def devices(self) -> tuple[DeviceSettings, ...]:
        """The sections [device ...]."""
        return tuple(
            DeviceSettings(selector, **{name: written(setting.value) for name, setting in options.items()})
            for selector, options in self.by_device.items()
        )

    @property
    def watch(self) -> WatchSettings:
        """[watch]."""
        return WatchSettings._make(self.common["watch", name].value for name in WatchSettings._fields)

    @property
    def severities(self) -> Mapping[str, str]:
        """The severity of each rule in [rules], and of a changed firmware image in [firmware]: block, warning or info."""
        on_change = self.firmware.on_change
        changed = {} if on_change == "block" else {"firmware-changed": on_change}
        return {**changed, **{rule: str(setting.value) for rule, setting in self.rules.items()}}

    @property
    def firmware(self) -> FirmwareSettings:
        """[firmware]."""
        return FirmwareSettings._make(self.common["firmware", name].value for name in FirmwareSettings._fields)

    @property
    def metrics(self) -> MetricsSettings:
        """[metrics]."""
        return MetricsSettings._make(self.common["metrics", name].value for name in MetricsSettings._fields)

    @property
    def notify(self) -> NotifySettings:
        """[notify]."""
        return NotifySettings._make(self.common["notify", name].value for name in NotifySettings._fields)

    @property
    def cluster(self) -> ClusterSettings:
        """[cluster]."""
        return ClusterSettings._make(self.common["cluster", name].value for name in ClusterSettings._fields)

    @property
    def gui(self) -> GuiSettings:
        """[gui]."""
        return GuiSettings._make(self.common["gui", name].value for name in GuiSettings._fields)

    @property
    def guests(self) -> tuple[int, ...]:
        """The VMIDs with a [guest VMID] section."""
        return tuple(sorted(self.by_guest))

    def ignored(self, vmid: int) -> Mapping[str, str]:
        """The reasons of the findings ignored for that guest, by rule id."""
        return {rule: str(setting.value) for rule, setting in self.ignores.get(vmid, {}).items()}

    def origin(self, section: str, option: str, vmid: int | None = None) -> str:
        """Where the value in effect was set: "built-in", or file and line. KeyError for an option that does not exist."""
        return str(self._setting(section, option, vmid).place)

    def where(self, kind: str, name: str, vmid: int | None = None) -> str:
        """File and line of a rule id in [rules] (kind "rules"), or in a guest's ignore (kind "ignore"); '' if it is not there."""
        if kind == "rules":
            found = [self.rules[name]] if name in self.rules else []
        else:
            guests = self.guests if vmid is None else (vmid,)
            found = [self.ignores[guest][name] for guest in guests if name in self.ignores.get(guest, {})]
        return str(found[0].place) if found else ""

    def unknown_rules(self, known: Collection[str]) -> tuple[str, ...]:
        """A line, as in a SettingsError, for each rule id of [rules] and of the ignores that is not `known`."""
        named = [(rule, "[rules]", setting) for rule, setting in self.rules.items()]
        for vmid, ignored in self.ignores.items():
            named.extend((rule, f"ignore of [guest {vmid}]", setting) for rule, setting in ignored.items())
        return tuple(
            f"{setting.place}: unknown rule {shown(rule)} in {where}{did_you_mean(shown(nearest(rule, known)))}"
            for rule, where, setting in named
            if rule not in known
        )

    def as_json(self) -> dict[str, Any]:
        """All settings, each as {"value", "origin"}: by section and option, "rules" by rule id, "guests" by VMID."""
        document: dict[str, Any] = {}
        for (section, option), setting in self.common.items():
            document.setdefault(section, {})[option] = _json(setting)
        document["rules"] = {rule: _json(setting) for rule, setting in self.rules.items()}
        document["devices"] = {
            selector: {name: _json(setting) for name, setting in options.items()} for selector, options in self.by_device.items()
        }
        document["guests"] = {}
        for vmid in self.guests:
            guest: dict[str, Any] = {}
            document["guests"][str(vmid)] = guest
            for (section, option), setting in self.by_guest[vmid].items():
                guest.setdefault(section, {})[option] = _json(setting)
            guest["ignore"] = {rule: _json(setting) for rule, setting in self.ignores.get(vmid, {}).items()}
        return document

    def rows(self) -> Iterator[Row]:
        """The same as lines of a table."""
        for (section, option), setting in self.common.items():
            yield _row((section,), option, setting)
        for rule, setting in self.rules.items():
            yield _row(("rules",), rule, setting)
        for selector, options in self.by_device.items():
            for option, setting in options.items():
                yield _row((f"device {selector}",), option, setting)
        for vmid in self.guests:
            for (section, option), setting in self.by_guest[vmid].items():
                yield _row((f"guest {vmid}", section), option, setting)
            for rule, setting in self.ignores.get(vmid, {}).items():
                yield Row(header((f"guest {vmid}",)), "ignore", f"{rule}: {setting.value}", str(setting.place))

    def _setting(self, section: str, option: str, vmid: int | None) -> Setting:
        own = self.by_guest.get(vmid, {}) if vmid is not None else {}
        return own.get((section, option)) or self.common[section, option]


def _json(setting: Setting) -> dict[str, Value]:
    return {"value": setting.value, "origin": str(setting.place)}


def _row(path: SectionPath, option: str, setting: Setting) -> Row:
    return Row(header(path), option, written(setting.value), str(setting.place))
