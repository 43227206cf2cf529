"""Reads the settings: the built-in ones, the cluster's file, the node's file. The options are in table.py."""

from __future__ import annotations

import errno
import os
import re
from types import MappingProxyType

from pvehooks.errors import EXIT_COULD_NOT_LOOK, SettingsError
from pvehooks.settings import compiled, file
from pvehooks.settings.compiled import CLUSTER_FILE, NODE_FILE, StartSettings
from pvehooks.settings.effective import Origin, Setting, Settings
from pvehooks.settings.file import SettingsProblem, header, printable, shown
from pvehooks.settings.sections import RngSettings
from pvehooks.settings.table import OPTIONS, did_you_mean, nearest
from pvehooks.values.base import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Any

    from pvehooks.host import Host
    from pvehooks.settings.file import SectionPath

# A rule's id has a hyphen, so that "see: ..." or "https://..." inside a reason is not taken for one.
_RULE_ID = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)+")
_IGNORED = re.compile(rf"({_RULE_ID.pattern})\s*:(.*)", re.DOTALL)
# What names a device: an address (also of a whole slot), or ids with the serial number of the disk or of the PCIe function.
_DEVICE = re.compile(
    r"(?:[0-9a-f]{4,}:)?[0-9a-f]{2}:[0-9a-f]{2}(?:\.[0-7])?|[0-9a-f]{4}:[0-9a-f]{4}(?: serial [!-~]{1,64})?", re.IGNORECASE
)
_DEVICE_WORDS = "[device 0000:01:00.0], [device 144d:a808] or [device 144d:a808 serial NUMBER]"
# pve-vmid of PVE's JSONSchema.pm.
_VMID = re.compile(r"[1-9][0-9]{2,8}")
_SHOWN_PROBLEMS = 50

_BY_NAME = {(option.section, option.name): option for option in OPTIONS}
_SEVERITY = _BY_NAME["rules", "RULE-ID"]
_IGNORE = _BY_NAME["guest VMID", "ignore"]
_FIXED = {key: option for key, option in _BY_NAME.items() if option.default is not None}


class SettingsUnreadable(SettingsError):
    """A settings file exists (or may exist: pmxcfs is down) and cannot be read; no error in it is known."""

    exit_status = EXIT_COULD_NOT_LOOK


class _Layer(NamedTuple):
    common: dict[tuple[str, str], Setting]
    by_guest: dict[int, dict[tuple[str, str], Setting]]
    rules: dict[str, Setting]
    ignores: dict[int, dict[str, Setting]]
    by_device: dict[str, dict[str, Setting]]


def load(host: Host) -> Settings:
    """The settings of this node. Missing files count as empty.

    Raises SettingsError with all errors, a line each; SettingsUnreadable if the only error is that a file cannot be read.
    """
    whole = _built_in()
    sources: dict[str, str] = {}
    unread, problems = [], []
    for path in (CLUSTER_FILE, NODE_FILE):
        try:
            content = host.read(path, limit=file.MAX_BYTES)
        except FileNotFoundError:
            continue
        except OSError as error:
            unread.append(f"{path}: cannot be read: {error.strerror or os.strerror(error.errno or errno.EIO)}")
            continue
        sources[path] = compiled.digest(content)
        layer, found = _layer(path, content)
        problems.extend(_lines(path, found))
        whole.common.update(layer.common)
        whole.rules.update(layer.rules)
        whole.ignores.update(layer.ignores)
        for vmid, options in layer.by_guest.items():
            whole.by_guest.setdefault(vmid, {}).update(options)
        for selector, settings in layer.by_device.items():
            whole.by_device.setdefault(selector, {}).update(settings)
    if problems:
        raise SettingsError((*unread, *problems), "pvehooks.conf(5) describes all settings.")
    if unread:
        raise SettingsUnreadable(tuple(unread), "If it is below /etc/pve: systemctl status pve-cluster")
    return _frozen(whole, sources)


def checked(host: Host, rules: Collection[str]) -> Settings:
    """The settings of this node, in which every rule id is one of `rules`; raises SettingsError."""
    loaded = load(host)
    unknown = loaded.unknown_rules(rules)
    if unknown:
        raise SettingsError(unknown, "All rules: pvehooks rules")
    return loaded


def built_in() -> Settings:
    """The settings of a node without settings files."""
    return _frozen(_built_in(), {})


def _built_in() -> _Layer:
    return _Layer({key: Setting(option.default) for key, option in _FIXED.items() if option.default is not None}, {}, {}, {}, {})


def _frozen(whole: _Layer, sources: dict[str, str]) -> Settings:
    guests = {vmid: MappingProxyType(options) for vmid, options in whole.by_guest.items()}
    ignores = {vmid: MappingProxyType(ignored) for vmid, ignored in whole.ignores.items()}
    frozen = (MappingProxyType(whole.common), MappingProxyType(guests), MappingProxyType(whole.rules), MappingProxyType(ignores))
    general = RngSettings._make(whole.common["rng", name].value for name in RngSettings._fields)
    devices = MappingProxyType({selector: MappingProxyType(options) for selector, options in whole.by_device.items()})
    settings = Settings(*frozen, devices, tuple(sources), general, MappingProxyType(sources))
    return settings._replace(general_start=settings.start_settings())


def compile_to(host: Host, settings: Settings) -> bool:
    """Compiles these settings for the hookscript, which does not load configobj; returns whether they changed. Raises OSError."""
    guests = {vmid: settings.start_settings(vmid) for vmid in settings.guests}
    return compiled.write(host, settings.sources, settings.start_settings(), guests)


def last_good(host: Host) -> Settings | None:
    """The last settings without an error, as they were compiled: [guard], [device ...], [rules] and ignores; None if there are none. Raises nothing.

    All else is built in: no start needs it.
    """
    common = compiled.read(host, 0)
    if common is None:
        return None
    whole = _built_in()
    whole.common.update(_guard(common.settings))
    whole.rules.update({rule: Setting(severity) for rule, severity in common.settings.severities.items()})
    for device in common.settings.devices:
        given = {name: value for name, value in device._asdict().items() if value and name != "selector"}
        whole.by_device[device.selector] = {name: Setting(value) for name, value in given.items()}
    for vmid in compiled.vmids(host):
        own = compiled.read(host, vmid)
        if own is None:
            return None
        whole.by_guest[vmid] = _guard(own.settings)
        whole.ignores[vmid] = {rule: Setting(reason) for rule, reason in own.settings.ignored.items()}
    return _frozen(whole, {})


def _guard(settings: StartSettings) -> dict[tuple[str, str], Setting]:
    return {("guard", name): Setting(value) for name, value in settings.guard._asdict().items()}


def mark(host: Host) -> tuple[int, ...]:
    """A value that differs, within this process, after the settings files (or whether they can be read) have changed."""
    marks = []
    for path in (CLUSTER_FILE, NODE_FILE):
        try:
            marks.append(hash(host.read(path, limit=file.MAX_BYTES)))
        except OSError as error:
            marks.append(-(error.errno or errno.EIO))
    return tuple(marks)


def _lines(path: str, problems: list[SettingsProblem]) -> list[str]:
    ordered = sorted(problems, key=lambda problem: problem.line)
    lines = [f"{path}, line {line}: {words}" if line else f"{path}: {words}" for line, words in ordered[:_SHOWN_PROBLEMS]]
    if len(ordered) > _SHOWN_PROBLEMS:
        lines.append(f"{path}: {len(ordered) - _SHOWN_PROBLEMS} further problems are not shown")
    return lines


def _layer(path: str, content: bytes) -> tuple[_Layer, list[SettingsProblem]]:
    found = file.scan(content)
    problems = list(found.problems)
    known = set()
    layer = _Layer({}, {}, {}, {}, {})
    for section in found.sections:
        if section.path[:-1] and section.path[:-1] not in known:
            continue
        words = _section_problem(section.path)
        if words:
            problems.append(SettingsProblem(section.line, words))
            continue
        known.add(section.path)
        vmid, selector = _vmid(section.path), _selector(section.path)
        if selector and selector in layer.by_device:
            problems.append(SettingsProblem(section.line, f"section {header(section.path)} names a device that has a section already"))
        elif selector:
            layer.by_device[selector] = {}
        if vmid is not None:
            layer.by_guest.setdefault(vmid, {})
    checks: dict[file.SettingsLine, str] = {}
    lines: dict[tuple[SectionPath, str], int] = {}
    for option in found.options:
        if option.path and option.path not in known:
            continue
        first = lines.setdefault((option.path, _canonical(option.name)), option.line)
        words = _option_problem(option.path, option.name)
        if not words and first != option.line:
            words = f"option {shown(option.name)} is given twice in {header(option.path)}, first on line {first} (- and _ are the same)"
        if words:
            problems.append(SettingsProblem(option.line, words))
        else:
            checks[option] = _BY_NAME[_table_key(option.path, option.name)].check
    good, bad = file.values(found.lines, checks) if checks else ({}, {})
    problems.extend(SettingsProblem(option.line, _value_problem(option.path, option.name, raw)) for option, raw in bad.items())
    for option, value in good.items():
        _keep(layer, path, option, value, problems)
    return layer, problems


def _keep(layer: _Layer, path: str, option: file.SettingsLine, value: Any, problems: list[SettingsProblem]) -> None:
    vmid = _vmid(option.path)
    place = Origin(path, option.line)
    if option.path == ("rules",):
        layer.rules[option.name] = Setting(value, place)
    elif selector := _selector(option.path):
        layer.by_device[selector][_canonical(option.name)] = Setting(value, place)
    elif vmid is None:
        layer.common[option.path[0], _canonical(option.name)] = Setting(value, place)
    elif len(option.path) == 2:
        layer.by_guest[vmid][option.path[1], _canonical(option.name)] = Setting(value, place)
    else:
        layer.ignores[vmid] = _ignores(path, option, value, problems)


def _vmid(path: SectionPath) -> int | None:
    kind, _, vmid = path[0].partition(" ") if path else ("", "", "")
    return int(vmid) if kind == "guest" and _VMID.fullmatch(vmid) else None


def _selector(path: SectionPath) -> str:
    """What a section [device ...] names, as it is compared: an address with its domain, in small letters; '' for other sections."""
    kind, _, device = path[0].partition(" ") if len(path) == 1 else ("", "", "")
    if kind != "device" or not _DEVICE.fullmatch(device):
        return ""
    ids, _, serial = device.partition(" serial ")
    ids = ids.lower()
    if not serial and ids.count(":") == 1 and len(ids.partition(":")[0]) == 2:
        ids = f"0000:{ids}"
    return f"{ids} serial {serial}" if serial else ids


def _canonical(name: str) -> str:
    """An option as the table has it: `after-stop` is `after_stop`."""
    return name.replace("-", "_")


def _table_key(path: SectionPath, name: str) -> tuple[str, str]:
    """The key in the table for an option of a file."""
    if path == ("rules",):
        return "rules", _SEVERITY.name
    name = _canonical(name)
    if _selector(path):
        return "device DEVICE", name
    return ("guest VMID" if len(path) == 1 and _vmid(path) is not None else path[-1] if path else ""), name


def _section_problem(path: SectionPath) -> str:
    fixed = (*dict.fromkeys(section for section, _ in _FIXED), "rules")
    if len(path) == 1:
        return "" if path[0] in fixed or _vmid(path) is not None or _selector(path) else _top_problem(path[0], fixed)
    per_guest = {option.section for option in OPTIONS if option.per_guest}
    guest = _vmid(path) is not None
    if guest and len(path) == 2 and path[1] in per_guest:
        return ""
    name = "[" * len(path) + printable(path[-1]) + "]" * len(path)
    if guest and len(path) == 2 and path[1] in fixed:
        return f"{name} cannot be set per VM"
    near = nearest(path[-1], per_guest) if guest and len(path) == 2 else ""
    return f"unknown section {name} in {header(path[:-1])}" + did_you_mean(f"[[{near}]]" if near else "")


def _top_problem(name: str, fixed: tuple[str, ...]) -> str:
    kind, _, rest = name.partition(" ")
    if kind == "guest" and rest:
        return f"{shown(rest)} in {header((name,))} is not a VMID; allowed: a number from 100 to 999999999"
    if kind == "guest":
        return "[guest] names no VM; write [guest VMID]"
    if kind == "device":
        return (f"{shown(rest)} in {header((name,))}" if rest else "[device]") + f" names no device; write {_DEVICE_WORDS}"
    vmid = re.search(r"[0-9]+$", name)
    if vmid and _VMID.fullmatch(vmid[0]) and (vmid[0] == name or nearest(name[: vmid.start()], ("guest", "vm", "vmid"))):
        return f"unknown section {header((name,))}; did you mean [guest {vmid[0]}]?"
    near = nearest(kind, (*fixed, "guest", "device"))
    meant = {"": "", "guest": "[guest VMID]", "device": f"[device {rest}]" if rest else "[device DEVICE]"}
    return f"unknown section {header((name,))}" + did_you_mean(meant.get(near, f"[{near}]"))


def _option_problem(path: SectionPath, name: str) -> str:
    home = next((section for section, option in _FIXED if option == _canonical(name)), "")
    if not path:
        return f"option {shown(name)} is before the first [section]" + (f"; it belongs below [{home}]" if home else "")
    section, key = _table_key(path, name)
    if section == "rules":
        return "" if _RULE_ID.fullmatch(name) else _rule_id_problem(name)
    option = _BY_NAME.get((section, key))
    guest = _vmid(path) is not None
    if option and (option.per_guest or len(path) == 1):
        return ""
    if guest and home and not _BY_NAME[home, _canonical(name)].per_guest:
        return f"option {shown(name)} of [{home}] cannot be set per VM"
    words = f"unknown option {shown(name)} in {header(path)}"
    if home:
        return f"{words}; it belongs below " + (f"[[{home}]]" if guest else f"[{home}]")
    candidates = [o.name for o in OPTIONS if o.section == section and (o.per_guest or len(path) == 1)]
    return words + did_you_mean(shown(nearest(name, candidates)))


def _rule_id_problem(name: str) -> str:
    kebab = name.lower().replace("_", "-").replace(" ", "-")
    words = f"{shown(name)} in [rules] is not the id of a rule"
    return words + (did_you_mean(shown(kebab)) if _RULE_ID.fullmatch(kebab) else "; pvehooks rules lists them")


def _value_problem(path: SectionPath, name: str, raw: str | None) -> str:
    option = _BY_NAME[_table_key(path, name)]
    if raw is None:
        return "cannot be parsed"
    if not raw:
        return f"option {shown(name)} in {header(path)} has no value; allowed: {option.allowed}"
    words = f"{shown(raw)} is not a value for {shown(name)} in {header(path)}; allowed: {option.allowed}"
    wrong = next((word for word in raw.split(", ") if word not in option.choices), "") if option.kind == "methods" else raw
    return words + did_you_mean(shown(nearest(wrong, option.choices)))


def _ignores(path: str, option: file.SettingsLine, value: list[str], problems: list[SettingsProblem]) -> dict[str, Setting]:
    """The reasons by rule id; text that does not begin with an id and a colon continues the reason before it."""
    found: dict[str, Setting] = {}
    rule, where = "", header(option.path)
    for offset, line in enumerate(", ".join(value).split("\n")):
        place = Origin(path, option.line + offset)
        for number, item in enumerate(line.split(",")):
            text = " ".join(item.split())
            match = _IGNORED.fullmatch(text)
            if match and match[1] in found:
                problems.append(SettingsProblem(place.line, f"rule {shown(match[1])} is ignored twice in {where}"))
            if match:
                rule = match[1]
                found[rule] = Setting(match[2].strip(), place)
            elif rule and text:
                reason, begun = found[rule]
                found[rule] = Setting(f"{reason}{', ' if number else ' '}{text}".strip(" ,"), begun)
            elif text:
                words = f"{shown(text)} is ignored without a reason" if _RULE_ID.fullmatch(text) else f"{shown(text)} names no rule"
                problems.append(SettingsProblem(place.line, f"{words} in {where}; write ignore = {_IGNORE.allowed}"))
    for rule, setting in found.items():
        if not setting.value:
            words = f"{shown(rule)} is ignored without a reason in {where}; write ignore = {_IGNORE.allowed}"
            problems.append(SettingsProblem(setting.place.line, words))
    if not found and not any(text.strip(" ,\n") for text in value):
        problems.append(SettingsProblem(option.line, f"option 'ignore' in {where} has no value; allowed: {_IGNORE.allowed}"))
    return found
