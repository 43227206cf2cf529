"""PVE's property strings, `key=value,key=value`: parsed and checked as PVE::JSONSchema::parse_property_string does."""

import re
from collections.abc import Callable, Iterator, Mapping

from pvehooks.formats import checks
from pvehooks.formats.checks import Property
from pvehooks.formats.schema import OPTIONS, PROPERTY_STRINGS, VM_CPU_FLAGS
from pvehooks.values import Value
from pvehooks.values.base import NamedTuple

Check = Callable[[Value], str]
"""Gives '' or the words that follow the name of the property."""


Newer = Callable[[str, str], bool]
"""Whether a Proxmox VE that is newer than our tables has a property with a value: name, value."""


class PropertyError(ValueError):
    """The text is not a property string of that format; the message says what is wrong with it."""


class _Format(NamedTuple):
    """A prepared format."""

    # Resolves aliases.
    names: Mapping[str, str]
    key_aliases: Mapping[str, str]
    booleans: frozenset[str]
    checks: Mapping[str, Check]
    default_key: str
    required: tuple[str, ...]
    requires: tuple[tuple[str, str], ...]
    # The results of short parts (`firewall=1`), cached.
    parts: dict[str, "_Part"]
    # Those of the last whole texts: a config is checked and then asked.
    texts: dict[str, dict[str, Value]]


class _Part(NamedTuple):
    """One part of a property string."""

    # '' for a blank part.
    name: str
    # What was written: the name of an alias.
    key: str
    value: Value
    is_bare: bool


_PARTS_KEPT = 512
_PART_LENGTH = 22
_TEXTS_KEPT = 16
_TEXT_LENGTH = 200
_BOOLEANS = {"1": 1, "on": 1, "yes": 1, "true": 1, "0": 0, "off": 0, "no": 0, "false": 0}
_formats: dict[str, _Format] = {}


def boolean(text: str) -> int | None:
    """1 or 0 for PVE's words for yes and no in any case (PVE::JSONSchema::parse_boolean), None for another text."""
    value = _BOOLEANS.get(text)
    if value is None and text.isascii():
        return _BOOLEANS.get(text.lower())
    return value


def quoted(value: object) -> str:
    """The value for a message, shortened."""
    text = str(value)
    return f"'{text}'" if len(text) <= 60 else f"'{text[:57]}...'"


def as_accepted(name: str, value: str) -> bool:
    """The Newer for values that the reader of configs has accepted: they are read again without asking the node."""
    return True


def parse(option: str, value: str, newer: Newer | None = None) -> dict[str, Value]:
    """The parts of the value of a VM config's option: booleans as 0 or 1, all else as the text in the config.

    Nothing is filled in. The model of a `cpu` is not looked up: which ones exist depends on the node. What only `newer` knows is as written.
    Raises PropertyError for a value PVE refuses, and for an option that is not a property string.
    """
    return dict(parts_of(option, value, newer))


def parts_of(option: str, value: str, newer: Newer | None = None) -> Mapping[str, Value]:
    """The same, as it is kept for the next who asks."""
    known = OPTIONS.get(option)
    if known is not None and known.format in PROPERTY_STRINGS:
        return kept_of(known.format, value, newer)
    if option == "startup":
        return _parse_startup(value)
    raise PropertyError(f"'{option}' is not a property string")


def parse_format(name: str, text: str, newer: Newer | None = None) -> dict[str, Value]:
    """Like parse, for the format `name` of schema.PROPERTY_STRINGS."""
    return dict(kept_of(name, text, newer))


def kept_of(name: str, text: str, newer: Newer | None = None) -> Mapping[str, Value]:
    """Like parts_of, for the format."""
    try:
        return _parse(name, text)
    except PropertyError:
        if newer is None:
            raise
        return _parse(name, text, _Asked(newer))


class _Asked:
    """A Newer that remembers whether it knew something."""

    def __init__(self, newer: Newer) -> None:
        self._newer = newer
        self.knew = False

    def __call__(self, name: str, value: str) -> bool:
        known = self._newer(name, value)
        self.knew = self.knew or known
        return known


def _parse(name: str, text: str, newer: _Asked | None = None) -> Mapping[str, Value]:
    form = _formats.get(name)
    if form is None:
        form = _formats[name] = _compile(PROPERTY_STRINGS[name])
    elif text in form.texts:
        return form.texts[text]
    values: dict[str, Value] = {}
    default_seen = False
    for written in text.split(","):
        part = form.parts.get(written) or _read_part(form, written, newer)
        key, given, value, is_bare = part
        if is_bare:
            if not key:
                continue
            # "0" is false to the Perl code that asks whether there is a value already: it is overwritten.
            if default_seen or values.get(key) not in (None, "0", 0):
                raise PropertyError(f"{key} is given twice")
            default_seen = True
        elif key in values:
            raise PropertyError(f"{key} is given twice")
        if given in form.key_aliases:
            alias = form.key_aliases[given]
            if alias in values:
                raise PropertyError(f"{alias} is given twice")
            values[alias] = given
        values[key] = value
    _check_whole(name, form, values, newer)
    if newer is None and len(text) <= _TEXT_LENGTH:
        if len(form.texts) >= _TEXTS_KEPT:
            form.texts.clear()
        form.texts[text] = values
    return values


def _check_whole(name: str, form: _Format, values: Mapping[str, Value], newer: _Asked | None) -> None:
    if values.get(form.default_key) in ("0", 0):
        _check_value(form, form.default_key, values[form.default_key])
    # What a newer PVE has may stand for it: each model of a network card is a property that gives the model.
    for key in () if newer is not None and newer.knew else form.required:
        if key not in values:
            raise PropertyError(f"{key} is missing")
    for key, other in form.requires:
        if key in values and other not in values:
            raise PropertyError(f"{key} needs {other}")
    if name == "cpu":
        _check_vm_cpu(values, newer)


def _read_part(form: _Format, written: str, newer: Newer | None) -> _Part:
    key, equals, value = written.partition("=")
    if not equals:
        if not written.strip(checks.WHITESPACE):
            return _Part("", "", "", True)
        if not form.default_key:
            raise PropertyError(f"{quoted(written)} has no key")
        key, value = form.default_key, written
    elif not key or not value:
        raise PropertyError(f"{quoted(written)} has no {'value' if key else 'key'}")
    name = form.names.get(key)
    if name is None:
        if newer is not None and newer(key, value):
            return _Part(key, key, value, not equals)
        raise PropertyError(f"unknown property {quoted(key)}")
    switch = boolean(value) if name in form.booleans else None
    part = _Part(name, key, value if switch is None else switch, not equals)
    if name != form.default_key or value != "0":
        _check_value(form, name, part.value, newer)
    if newer is None and len(written) <= _PART_LENGTH:
        if len(form.parts) >= _PARTS_KEPT:
            form.parts.clear()
        form.parts[written] = part
    return part


def _check_value(form: _Format, name: str, value: Value, newer: Newer | None = None) -> None:
    problem = form.checks[name](value)
    if problem and not (newer is not None and newer(name, str(value))):
        raise PropertyError(f"{name} {problem}")


def _compile(properties: Mapping[str, Property]) -> _Format:
    real = {key: declared for key, declared in properties.items() if not declared.alias}
    return _Format(
        {key: declared.alias or key for key, declared in properties.items()},
        {key: declared.key_alias for key, declared in properties.items() if declared.key_alias},
        frozenset(key for key, declared in real.items() if declared.type == "boolean"),
        {key: checker(declared) for key, declared in real.items()},
        next((key for key, declared in real.items() if declared.default_key), ""),
        tuple(key for key, declared in real.items() if declared.required),
        tuple((key, declared.requires) for key, declared in real.items() if declared.requires),
        {},
        {},
    )


def checker(declared: Property) -> Check:
    """The test of one value against its schema, as check_prop in PVE::JSONSchema does it."""
    if declared.type == "boolean":
        return _check_boolean
    if declared.type == "string":
        return _check_string(declared)
    return _check_number(declared)


def _check_boolean(value: Value) -> str:
    return "" if value in (0, 1, "0", "1") else f"is not a boolean: {quoted(value)}"


def _check_string(declared: Property) -> Check:
    enum = frozenset(declared.enum)
    accepts, noun = checks.FORMATS[declared.format] if declared.format else (None, declared.noun)
    if declared.pattern:
        accepts = checks.whole(declared.pattern)
    max_length = declared.max_length

    def check(value: Value) -> str:
        text = str(value)
        if accepts is not None and not accepts(text):
            return f"is not {noun}: {quoted(text)}"
        if enum and text not in enum:
            return f"is not one of {', '.join(declared.enum)}: {quoted(text)}"
        if max_length is not None and len(text.encode(errors="surrogateescape")) > max_length:
            return f"is longer than {max_length} bytes"
        return ""

    return check


def _check_number(declared: Property) -> Check:
    accepts, noun = (checks.is_integer, "an integer") if declared.type == "integer" else (checks.is_number, "a number")
    minimum, maximum = declared.minimum, declared.maximum

    def check(value: Value) -> str:
        text = str(value)
        if not accepts(text):
            return f"is not {noun}: {quoted(text)}"
        if minimum is not None and float(text) < minimum:
            return f"is less than {minimum}: {quoted(text)}"
        if maximum is not None and float(text) > maximum:
            return f"is more than {maximum}: {quoted(text)}"
        return ""

    return check


def _check_vm_cpu(values: Mapping[str, Value], newer: Newer | None) -> None:
    """What qemu-server requires of a guest's own `cpu` beyond the schema (validate_vm_cpu_conf in CPUConfig.pm)."""
    if values.get("cputype") in (None, "0"):
        raise PropertyError("cputype is missing")
    if "reported-model" in values:
        raise PropertyError("reported-model is for custom models only")
    for flag in str(values.get("flags", "")).split(";"):
        if flag and flag[1:] not in VM_CPU_FLAGS and not (newer is not None and newer("flags", flag[1:])):
            raise PropertyError(f"flag {quoted(flag)} is for custom models only")


def _parse_startup(text: str) -> dict[str, Value]:
    if not checks.is_startup(text):
        raise PropertyError(f"{quoted(text)} is not a start-up order")
    values: dict[str, Value] = {}
    for part in text.split(","):
        key, equals, value = part.partition("=")
        if part.strip(checks.WHITESPACE):
            values[key if equals else "order"] = value if equals else part
    return values


# -- disks: parse_drive, drive_is_cdrom and drive_is_cloudinit in PVE/QemuServer/Drive.pm ----------------------------

DRIVES = (
    *(f"ide{number}" for number in range(4)),
    *(f"scsi{number}" for number in range(31)),
    *(f"virtio{number}" for number in range(16)),
    *(f"sata{number}" for number in range(6)),
    "efidisk0",
    "tpmstate0",
)
"""The options that hold a disk in use, in the order in which PVE goes through them."""

_CLOUDINIT = r"[:/](?:vm-[0-9]+-)?cloudinit(?:\.(?:raw|qcow|qcow2|qed|vmdk|cloop))?\Z"
_NEEDED = (
    ("mbps_max", "mbps"),
    ("mbps_rd_max", "mbps_rd"),
    ("mbps_wr_max", "mbps_wr"),
    ("bps_max_length", "mbps_max"),
    ("bps_rd_max_length", "mbps_rd_max"),
    ("bps_wr_max_length", "mbps_wr_max"),
    ("iops_max_length", "iops_max"),
    ("iops_rd_max_length", "iops_rd_max"),
    ("iops_wr_max_length", "iops_wr_max"),
)
_EXCLUSIVE = (("mbps_rd", "mbps"), ("mbps_wr", "mbps"), ("iops_rd", "iops"), ("iops_wr", "iops"))
# What most disks have and what PVE never skips one for.
_NEVER_SKIPPED = frozenset(
    ("file", "size", "iothread", "discard", "ssd", "cache", "aio", "backup", "replicate", "efitype", "pre-enrolled-keys")
)

Drive = Mapping[str, Value]


def drive(option: str, text: str) -> Drive | None:
    """The parts of a disk option, None where PVE skips the disk although its reader accepts the line."""
    try:
        parts = parse(option, text, as_accepted)
    except PropertyError:
        return None
    if parts.keys() <= _NEVER_SKIPPED:
        return parts
    for speed in ("bps", "bps_rd", "bps_wr"):
        if speed in parts:
            if f"m{speed}" in parts:
                return None
            # Drive.pm divides defined(...), so 1, by 2**20 here: whatever the speed, the megabytes come out as this true string.
            parts[f"m{speed}"] = "0.000"
            del parts[speed]
    true = {key for key, value in parts.items() if value not in (0, "0", "")}
    if any(key in true and other not in true for key, other in _NEEDED):
        return None
    if any(key in true and other in true for key, other in _EXCLUSIVE):
        return None
    if is_cdrom(parts) and ("snapshot" in true or "format" in true or option.startswith("virtio")):
        return None
    return parts


def drives(values: Mapping[str, Value]) -> Iterator[tuple[str, Drive]]:
    """The disks of a section that PVE goes through (foreach_volume), in its order."""
    for option in DRIVES:
        if option in values:
            parts = drive(option, str(values[option]))
            if parts is not None:
                yield option, parts


def is_cdrom(parts: Drive) -> bool:
    """A CD-ROM drive, also one that carries cloud-init data."""
    return parts.get("media") == "cdrom"


def is_cloudinit(parts: Drive) -> bool:
    """A drive with generated cloud-init data."""
    return re.search(_CLOUDINIT, str(parts.get("file", ""))) is not None
