"""The value of one option as PVE's reader takes it: check_type in PVE/QemuServer.pm."""

from collections.abc import Callable, Mapping

from pvehooks.formats import checks
from pvehooks.formats.propertystring import PropertyError, boolean, parse_format, quoted
from pvehooks.formats.schema import FLEECING_OPTIONS, OPTIONS, PROPERTY_STRINGS, SchemaOption
from pvehooks.values import Value

Check = Callable[[str], Value]
"""Takes the text behind the colon, without white space around it; ValueError says what follows "value of 'x'"."""

_MEMO_SIZE = 512
_MEMO_LENGTH = 64
_is_plain_number = checks.whole(r"\d+(?:\.\d+)?")


def is_too_large(value: Value) -> bool:
    """Perl made floating point of this integer: written as 1e+20, it is not read again."""
    return isinstance(value, int) and value > checks.LARGEST_INTEGER


def _boolean(text: str) -> Value:
    value = boolean(text)
    if value is None:
        raise ValueError(f" is not a boolean: {quoted(text)}")
    return value


def _integer(text: str) -> Value:
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f" is not an integer: {quoted(text)}")
    digits = text.lstrip("0") or "0"
    if len(digits) < 20:
        return int(digits)
    value = float(digits)
    if value == float("inf"):
        return 10**309
    return int(digits) if int(digits) <= checks.LARGEST_INTEGER else int(value)


def _number(text: str) -> Value:
    if not _is_plain_number(text):
        raise ValueError(f" is not a number: {quoted(text)}")
    return text


def _string(text: str) -> Value:
    if len(text) > 1 and text[0] == text[-1] == '"':
        return text[1:-1]
    return text


def _formatted(name: str) -> Check:
    accepts, noun = checks.FORMATS[name]

    def check(text: str) -> Value:
        if not accepts(text):
            raise ValueError(f" is not {noun}: {quoted(text)}")
        return text

    return check


def _property_string(name: str) -> Check:
    accepted: set[str] = set()

    def check(text: str) -> Value:
        if text in accepted:
            return text
        try:
            parse_format(name, text)
        except PropertyError as error:
            raise ValueError(f": {error}") from None
        if len(text) <= _MEMO_LENGTH:
            if len(accepted) >= _MEMO_SIZE:
                accepted.clear()
            accepted.add(text)
        return text

    return check


_PLAIN: Mapping[str, Check] = {"boolean": _boolean, "integer": _integer, "number": _number, "string": _string}


def _checks(options: Mapping[str, SchemaOption]) -> dict[str, Check]:
    made: dict[SchemaOption, Check] = {}
    for option in options.values():
        if option in made:
            continue
        if not option.format:
            made[option] = _PLAIN[option.type]
        elif option.format in PROPERTY_STRINGS:
            made[option] = _property_string(option.format)
        else:
            made[option] = _formatted(option.format)
    return {name: made[option] for name, option in options.items()}


CHECKS: Mapping[str, Check] = _checks(OPTIONS)
"""For the live part, [PENDING] and snapshots. `cpu` is checked but for the existence of its model."""

FLEECING_CHECKS: Mapping[str, Check] = _checks(FLEECING_OPTIONS)
"""For the section [special:fleecing]."""
