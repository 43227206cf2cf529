"""The settings in effect, and where each was set. What can be set stands in settings_table.py.

Layers: built-in defaults < the cluster's file < the node's file < [guest VMID] sections, of which the node's win over the
cluster's option by option.
"""

from __future__ import annotations

import errno
import os
import re
from types import MappingProxyType

from pvehooks import settings_compiled, settings_file
from pvehooks.errors import EXIT_COULD_NOT_LOOK, SettingsError
from pvehooks.settings_compiled import GuardSettings, StartSettings
from pvehooks.settings_file import Problem, header, printable, shown
from pvehooks.settings_sections import ClusterSettings, FirmwareSettings, MetricsSettings, RngSettings, WatchSettings
from pvehooks.settings_table import (
    CLUSTER_FILE,
    NODE_FILE,
    OPTIONS,
    Option,
    Value,
    conffile,
    configspec,
    nearest,
    written,
)
from pvehooks.values.base import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from typing import Any

    from pvehooks.host import Host
    from pvehooks.settings_file import SectionPath

__all__ = [
    "BUILT_IN",
    "CLUSTER_FILE",
    "NODE_FILE",
    "OPTIONS",
    "ClusterSettings",
    "FirmwareSettings",
    "GuardSettings",
    "MetricsSettings",
    "Option",
    "Place",
    "RngSettings",
    "Row",
    "Setting",
    "Settings",
    "SettingsUnreadable",
    "Value",
    "WatchSettings",
    "compile_to",
    "conffile",
    "configspec",
    "load",
    "mark",
    "nearest",
    "written",
]

BUILT_IN = "built-in"

# A rule's id has a hyphen, so that "see: ..." or "https://..." inside a reason is not taken for one.
_RULE_ID = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)+")
_IGNORED = re.compile(rf"({_RULE_ID.pattern})\s*:(.*)", re.DOTALL)
# pve-vmid of PVE's JSONSchema.pm.
_VMID = re.compile(r"[1-9][0-9]{2,8}")
_SHOWN_PROBLEMS = 50

_BY_NAME = {(option.section, option.name): option for option in OPTIONS}
_SEVERITY = _BY_NAME["rules", "RULE-ID"]
_IGNORE = _BY_NAME["guest VMID", "ignore"]
_FIXED = {key: option for key, option in _BY_NAME.items() if option.default is not None}


class SettingsUnreadable(SettingsError):
    """A settings file is there (or may be: pmxcfs is down) and cannot be read; nothing is known to be wrong with it."""

    exit_status = EXIT_COULD_NOT_LOOK


# -- what is set ------------------------------------------------------------------------------------------------------


class Place(NamedTuple):
    """A line of a settings file; the built-in settings have no file."""

    file: str = ""
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}, line {self.line}" if self.file else BUILT_IN


class Setting(NamedTuple):
    """A value and where it was set."""

    value: Value
    place: Place = Place()


class Row(NamedTuple):
    """A line of the table of settings; `section` is written as in a file, `origin` is "built-in" or file and line."""

    section: str
    option: str
    value: str
    origin: str


class Settings(NamedTuple):
    """The settings in effect. `files` are those that were read, `sources` their digests.

    `common` is by (section, option), `by_guest` the same for what [guest VMID] sections set; `rules` and `ignores` by rule id.
    """

    common: Mapping[tuple[str, str], Setting]
    by_guest: Mapping[int, Mapping[tuple[str, str], Setting]]
    rules: Mapping[str, Setting]
    ignores: Mapping[int, Mapping[str, Setting]]
    files: tuple[str, ...]
    general_rng: RngSettings
    sources: Mapping[str, str]

    def rng(self, vmid: int | None = None) -> RngSettings:
        """[rng] as it holds for that guest, or in general."""
        if vmid not in self.by_guest:
            return self.general_rng
        return RngSettings._make(self._setting("rng", name, vmid).value for name in RngSettings._fields)

    def guard(self, vmid: int | None = None) -> GuardSettings:
        """[guard] as it holds for that guest, or in general."""
        return GuardSettings._make(self._setting("guard", name, vmid).value for name in GuardSettings._fields)

    def at_start(self, vmid: int | None = None) -> StartSettings:
        """What the start of that guest is judged by, or that of any other."""
        return StartSettings(self.guard(vmid), self.severities, self.ignored(vmid) if vmid is not None else {})

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
    def cluster(self) -> ClusterSettings:
        """[cluster]."""
        return ClusterSettings._make(self.common["cluster", name].value for name in ClusterSettings._fields)

    @property
    def guests(self) -> tuple[int, ...]:
        """The VMIDs with a [guest VMID] section."""
        return tuple(sorted(self.by_guest))

    def ignored(self, vmid: int) -> Mapping[str, str]:
        """The reasons by rule id of what is ignored for that guest."""
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
            f"{setting.place}: unknown rule {shown(rule)} in {where}{_meant(shown(nearest(rule, known)))}"
            for rule, where, setting in named
            if rule not in known
        )

    def as_json(self) -> dict[str, Any]:
        """All settings, each as {"value", "origin"}: by section and option, "rules" by rule id, "guests" by VMID."""
        document: dict[str, Any] = {}
        for (section, option), setting in self.common.items():
            document.setdefault(section, {})[option] = _json(setting)
        document["rules"] = {rule: _json(setting) for rule, setting in self.rules.items()}
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


# -- reading ----------------------------------------------------------------------------------------------------------


class _Layer(NamedTuple):
    common: dict[tuple[str, str], Setting]
    by_guest: dict[int, dict[tuple[str, str], Setting]]
    rules: dict[str, Setting]
    ignores: dict[int, dict[str, Setting]]


def load(host: Host) -> Settings:
    """The settings of this node. Files that are not there count as empty.

    Raises SettingsError with all that is wrong, a line each; SettingsUnreadable where nothing is but that a file cannot be read.
    """
    whole = _built_in()
    sources: dict[str, str] = {}
    unread, problems = [], []
    for path in (CLUSTER_FILE, NODE_FILE):
        try:
            content = host.read(path, limit=settings_file.MAX_BYTES)
        except FileNotFoundError:
            continue
        except OSError as error:
            unread.append(f"{path}: cannot be read: {error.strerror or os.strerror(error.errno or errno.EIO)}")
            continue
        sources[path] = settings_compiled.digest(content)
        layer, found = _layer(path, content)
        problems.extend(_lines(path, found))
        whole.common.update(layer.common)
        whole.rules.update(layer.rules)
        whole.ignores.update(layer.ignores)
        for vmid, options in layer.by_guest.items():
            whole.by_guest.setdefault(vmid, {}).update(options)
    if problems:
        raise SettingsError((*unread, *problems), "pvehooks.conf(5) describes all settings.")
    if unread:
        raise SettingsUnreadable(tuple(unread), "If it lies below /etc/pve: systemctl status pve-cluster")
    return _frozen(whole, sources)


def built_in() -> Settings:
    """The settings of a node without settings files."""
    return _frozen(_built_in(), {})


def _built_in() -> _Layer:
    return _Layer({key: Setting(option.default) for key, option in _FIXED.items() if option.default is not None}, {}, {}, {})


def _frozen(whole: _Layer, sources: dict[str, str]) -> Settings:
    guests = {vmid: MappingProxyType(options) for vmid, options in whole.by_guest.items()}
    ignores = {vmid: MappingProxyType(ignored) for vmid, ignored in whole.ignores.items()}
    frozen = (MappingProxyType(whole.common), MappingProxyType(guests), MappingProxyType(whole.rules), MappingProxyType(ignores))
    general = RngSettings._make(whole.common["rng", name].value for name in RngSettings._fields)
    return Settings(*frozen, tuple(sources), general, MappingProxyType(sources))


def compile_to(host: Host, settings: Settings) -> bool:
    """Leaves these settings for the hookscript, which does without configobj; whether that changed anything. Raises OSError."""
    guests = {vmid: settings.at_start(vmid) for vmid in settings.guests}
    return settings_compiled.write(host, settings.sources, settings.at_start(), guests)


def mark(host: Host) -> tuple[int, ...]:
    """What differs, within this process, whenever the settings files (or whether they can be read) have changed."""
    marks = []
    for path in (CLUSTER_FILE, NODE_FILE):
        try:
            marks.append(hash(host.read(path, limit=settings_file.MAX_BYTES)))
        except OSError as error:
            marks.append(-(error.errno or errno.EIO))
    return tuple(marks)


def _lines(path: str, problems: list[Problem]) -> list[str]:
    ordered = sorted(problems, key=lambda problem: problem.line)
    lines = [f"{path}, line {line}: {words}" if line else f"{path}: {words}" for line, words in ordered[:_SHOWN_PROBLEMS]]
    if len(ordered) > _SHOWN_PROBLEMS:
        lines.append(f"{path}: {len(ordered) - _SHOWN_PROBLEMS} further problems are not shown")
    return lines


def _meant(name: str) -> str:
    return f"; did you mean {name}?" if name not in ("", "''") else ""


def _layer(file: str, content: bytes) -> tuple[_Layer, list[Problem]]:
    found = settings_file.scan(content)
    problems = list(found.problems)
    sections, known = [], set()
    layer = _Layer({}, {}, {}, {})
    for section in found.sections:
        if section.path[:-1] and section.path[:-1] not in known:
            continue
        words = _section_problem(section.path)
        if words:
            problems.append(Problem(section.line, words))
            continue
        known.add(section.path)
        sections.append(section)
        vmid = _vmid(section.path)
        if vmid is not None:
            layer.by_guest.setdefault(vmid, {})
    options = []
    for option in found.options:
        if option.path and option.path not in known:
            continue
        words = _option_problem(option.path, option.name)
        if words:
            problems.append(Problem(option.line, words))
        else:
            options.append(option)
    if options:
        checked = settings_file.values(found.lines, sections, options, configspec())
        problems.extend(checked.problems)
        for option in options:
            key = (option.path, option.name)
            if key in checked.bad:
                problems.append(Problem(option.line, _value_problem(option.path, option.name, checked.bad[key])))
            elif key in checked.good:
                _keep(layer, file, option, checked.good[key], problems)
    return layer, problems


def _keep(layer: _Layer, file: str, option: settings_file.Option, value: Any, problems: list[Problem]) -> None:
    vmid = _vmid(option.path)
    setting = Setting("" if vmid is not None and len(option.path) == 1 else value, Place(file, option.line))
    if option.path == ("rules",):
        layer.rules[option.name] = setting
    elif vmid is None:
        layer.common[option.path[0], option.name] = setting
    elif len(option.path) == 2:
        layer.by_guest[vmid][option.path[1], option.name] = setting
    else:
        layer.ignores[vmid] = _ignores(file, option, value, problems)


def _vmid(path: SectionPath) -> int | None:
    kind, _, vmid = path[0].partition(" ") if path else ("", "", "")
    return int(vmid) if kind == "guest" and _VMID.fullmatch(vmid) else None


def _table_key(path: SectionPath, name: str) -> tuple[str, str]:
    """The key in the table for an option of a file."""
    if path == ("rules",):
        return "rules", _SEVERITY.name
    return ("guest VMID" if len(path) == 1 and _vmid(path) is not None else path[-1] if path else ""), name


def _section_problem(path: SectionPath) -> str:
    fixed = (*dict.fromkeys(section for section, _ in _FIXED), "rules")
    if len(path) == 1:
        return "" if path[0] in fixed or _vmid(path) is not None else _top_problem(path[0], fixed)
    per_guest = {option.section for option in OPTIONS if option.per_guest}
    guest = _vmid(path) is not None
    if guest and len(path) == 2 and path[1] in per_guest:
        return ""
    name = "[" * len(path) + printable(path[-1]) + "]" * len(path)
    if guest and len(path) == 2 and path[1] in fixed:
        return f"{name} cannot be set per guest"
    near = nearest(path[-1], per_guest) if guest and len(path) == 2 else ""
    return f"unknown section {name} in {header(path[:-1])}" + _meant(f"[[{near}]]" if near else "")


def _top_problem(name: str, fixed: tuple[str, ...]) -> str:
    kind, _, rest = name.partition(" ")
    if kind == "guest" and rest:
        return f"{shown(rest)} in {header((name,))} is no VMID; allowed: a number from 100 to 999999999"
    if kind == "guest":
        return "[guest] names no guest; write [guest VMID]"
    vmid = re.search(r"[0-9]+$", name)
    if vmid and _VMID.fullmatch(vmid[0]) and (vmid[0] == name or nearest(name[: vmid.start()], ("guest", "vm", "vmid"))):
        return f"unknown section {header((name,))}; did you mean [guest {vmid[0]}]?"
    near = nearest(kind, (*fixed, "guest"))
    return f"unknown section {header((name,))}" + _meant({"": "", "guest": "[guest VMID]"}.get(near, f"[{near}]"))


def _option_problem(path: SectionPath, name: str) -> str:
    home = next((section for section, option in _FIXED if option == name), "")
    if not path:
        return f"option {shown(name)} stands before the first [section]" + (f"; it belongs below [{home}]" if home else "")
    section, key = _table_key(path, name)
    if section == "rules":
        return "" if _RULE_ID.fullmatch(name) else _rule_id_problem(name)
    option = _BY_NAME.get((section, key))
    guest = _vmid(path) is not None
    if option and (option.per_guest or len(path) == 1):
        return ""
    if guest and home and not _BY_NAME[home, name].per_guest:
        return f"option {shown(name)} of [{home}] cannot be set per guest"
    words = f"unknown option {shown(name)} in {header(path)}"
    if home:
        return f"{words}; it belongs below " + (f"[[{home}]]" if guest else f"[{home}]")
    candidates = [o.name for o in OPTIONS if o.section == section and (o.per_guest or len(path) == 1)]
    return words + _meant(shown(nearest(name, candidates)))


def _rule_id_problem(name: str) -> str:
    kebab = name.lower().replace("_", "-").replace(" ", "-")
    words = f"{shown(name)} in [rules] is not a rule's id"
    return words + (_meant(shown(kebab)) if _RULE_ID.fullmatch(kebab) else "; pvehooks rules lists them")


def _value_problem(path: SectionPath, name: str, raw: str) -> str:
    option = _BY_NAME[_table_key(path, name)]
    if not raw:
        return f"option {shown(name)} in {header(path)} has no value; allowed: {option.allowed}"
    words = f"{shown(raw)} is no value for {shown(name)} in {header(path)}; allowed: {option.allowed}"
    return words + _meant(shown(nearest(raw, option.choices)))


def _ignores(file: str, option: settings_file.Option, value: list[str], problems: list[Problem]) -> dict[str, Setting]:
    """The reasons by rule id; text that does not begin with an id and a colon goes on with the reason before it."""
    found: dict[str, Setting] = {}
    rule, where = "", header(option.path)
    for offset, line in enumerate(", ".join(value).split("\n")):
        place = Place(file, option.line + offset)
        for number, item in enumerate(line.split(",")):
            text = " ".join(item.split())
            match = _IGNORED.fullmatch(text)
            if match and match[1] in found:
                problems.append(Problem(place.line, f"rule {shown(match[1])} is ignored twice in {where}"))
            if match:
                rule = match[1]
                found[rule] = Setting(match[2].strip(), place)
            elif rule and text:
                reason, begun = found[rule]
                found[rule] = Setting(f"{reason}{', ' if number else ' '}{text}".strip(" ,"), begun)
            elif text:
                words = f"{shown(text)} is ignored without a reason" if _RULE_ID.fullmatch(text) else f"{shown(text)} names no rule"
                problems.append(Problem(place.line, f"{words} in {where}; write ignore = {_IGNORE.allowed}"))
    for rule, setting in found.items():
        if not setting.value:
            words = f"{shown(rule)} is ignored without a reason in {where}; write ignore = {_IGNORE.allowed}"
            problems.append(Problem(setting.place.line, words))
    if not found and not any(text.strip(" ,\n") for text in value):
        problems.append(Problem(option.line, f"option 'ignore' in {where} has no value; allowed: {_IGNORE.allowed}"))
    return found
