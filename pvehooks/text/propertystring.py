"""PVE's property strings, `key=value,key=value`: taken apart and checked as PVE::JSONSchema::parse_property_string does."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from pvehooks.text import checks
from pvehooks.text.properties import Property
from pvehooks.text.schema import OPTIONS, PROPERTY_STRINGS, VM_CPU_FLAGS

Value = str | int
Check = Callable[[Value], str]
"""Gives '' or the words that follow the name of the property."""


class PropertyError(ValueError):
    """The text is not a property string of that format; the message says what is wrong with it."""


class _Field(NamedTuple):
    name: str
    key_alias: str
    is_boolean: bool


class _Format(NamedTuple):
    fields: Mapping[str, _Field]
    default_key: str
    required: tuple[str, ...]
    requires: tuple[tuple[str, str], ...]
    checks: Mapping[str, Check]


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


def parse(option: str, value: str) -> dict[str, Value]:
    """The parts of the value of a VM config's option: booleans as 0 or 1, all else as the text in the config.

    Nothing is filled in. The model of a `cpu` is not looked up: which ones exist depends on the node.
    Raises PropertyError for a value PVE refuses, and for an option that is not a property string.
    """
    known = OPTIONS.get(option)
    if known is not None and known.format in PROPERTY_STRINGS:
        return parse_format(known.format, value)
    if option == "startup":
        return _parse_startup(value)
    raise PropertyError(f"'{option}' is not a property string")


def parse_format(name: str, text: str) -> dict[str, Value]:
    """Like parse, for the format `name` of schema.PROPERTY_STRINGS."""
    form = _formats.get(name)
    if form is None:
        form = _formats[name] = _compile(PROPERTY_STRINGS[name])
    values = _split(form, text)
    for key, value in values.items():
        problem = form.checks[key](value)
        if problem:
            raise PropertyError(f"{key} {problem}")
    for key in form.required:
        if key not in values:
            raise PropertyError(f"{key} is missing")
    for key, other in form.requires:
        if key in values and other not in values:
            raise PropertyError(f"{key} needs {other}")
    if name == "cpu":
        _check_vm_cpu(values)
    return values


def _split(form: _Format, text: str) -> dict[str, Value]:
    values: dict[str, Value] = {}
    default_seen = False
    for part in text.split(","):
        key, equals, value = part.partition("=")
        if not equals:
            if not part.strip(checks.WHITESPACE):
                continue
            if not form.default_key:
                raise PropertyError(f"{quoted(part)} has no key")
            if default_seen or values.get(form.default_key) not in (None, "0", 0):
                raise PropertyError(f"{form.default_key} is given twice")
            default_seen = True
            key, value = form.default_key, part
            values.pop(key, None)
        elif not key or not value:
            raise PropertyError(f"{quoted(part)} has no {'value' if key else 'key'}")
        field = form.fields.get(key)
        if field is None:
            raise PropertyError(f"unknown property '{key}'")
        if field.key_alias:
            if field.key_alias in values:
                raise PropertyError(f"{field.key_alias} is given twice")
            values[field.key_alias] = key
        if field.name in values:
            raise PropertyError(f"{field.name} is given twice")
        switch = boolean(value) if field.is_boolean else None
        values[field.name] = value if switch is None else switch
    return values


def _compile(properties: Mapping[str, Property]) -> _Format:
    fields = {}
    for key, property in properties.items():
        name = property.alias or key
        fields[key] = _Field(name, property.key_alias, properties[name].type == "boolean")
    real = {key: property for key, property in properties.items() if not property.alias}
    return _Format(
        fields,
        next((key for key, property in real.items() if property.default_key), ""),
        tuple(key for key, property in real.items() if property.required),
        tuple((key, property.requires) for key, property in real.items() if property.requires),
        {key: checker(property) for key, property in real.items()},
    )


def checker(property: Property) -> Check:
    """The test of one value against its schema, as check_prop in PVE::JSONSchema does it."""
    if property.type == "boolean":
        return _check_boolean
    if property.type == "string":
        return _check_string(property)
    return _check_number(property)


def _check_boolean(value: Value) -> str:
    return "" if value in (0, 1, "0", "1") else f"is not a boolean: {quoted(value)}"


def _check_string(property: Property) -> Check:
    enum = frozenset(property.enum)
    accepts, noun = checks.FORMATS[property.format] if property.format else (None, property.noun)
    if property.pattern:
        accepts = checks.whole(property.pattern)
    max_length = property.max_length

    def check(value: Value) -> str:
        text = str(value)
        if accepts is not None and not accepts(text):
            return f"is not {noun}: {quoted(text)}"
        if enum and text not in enum:
            return f"is not one of {', '.join(property.enum)}: {quoted(text)}"
        if max_length is not None and len(text.encode(errors="surrogateescape")) > max_length:
            return f"is longer than {max_length} bytes"
        return ""

    return check


def _check_number(property: Property) -> Check:
    accepts, noun = (
        (checks.is_integer, "an integer") if property.type == "integer" else (checks.is_number, "a number")
    )
    minimum, maximum = property.minimum, property.maximum

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


def _check_vm_cpu(values: Mapping[str, Value]) -> None:
    """What qemu-server asks of a guest's own `cpu` beyond the schema (validate_vm_cpu_conf in CPUConfig.pm)."""
    if values.get("cputype") in (None, "0"):
        raise PropertyError("cputype is missing")
    if "reported-model" in values:
        raise PropertyError("reported-model is for custom models only")
    for flag in str(values.get("flags", "")).split(";"):
        if flag and flag[1:] not in VM_CPU_FLAGS:
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
