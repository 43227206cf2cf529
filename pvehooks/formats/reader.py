"""Reads the lines of a VM config, with the same order of tests and the same quirks as parse_vm_config (PVE/QemuServer.pm)."""

import re
from collections.abc import Callable, Collection, Mapping

from pvehooks.formats.checks import FORMATS, LARGEST_INTEGER, WHITESPACE, whole
from pvehooks.formats.propertystring import PropertyError, boolean, kept_of, parse, quoted
from pvehooks.formats.schema import CPU_MODELS, FLEECING_OPTIONS, OPTIONS, PROPERTY_STRINGS, SPECIAL_SECTIONS, SchemaOption
from pvehooks.values import Dropped, Value
from pvehooks.values.base import NamedTuple

# -- the value of one option: check_type in PVE/QemuServer.pm --------------------------------------------------------


class DeclaredByNode:
    """What the node's PVE reads and our tables do not have; here nothing."""

    def __contains__(self, option: object) -> bool:
        """Whether it has an option of this name."""
        return False

    def has(self, option: str, name: str, value: str) -> bool:
        """Whether a property of an option may have a value there."""
        return False

    def has_section(self, name: str) -> bool:
        """Whether it has sections [special:NAME]."""
        return False


Check = Callable[[str], Value]
"""Takes the text behind the colon, without white space around it; ValueError says what follows "value of 'x'"."""

_MEMO_SIZE = 512
_MEMO_LENGTH = 64
_is_plain_number = whole(r"\d+(?:\.\d+)?")


def is_too_large(value: Value) -> bool:
    """Perl made floating point of this integer: written as 1e+20, it is not read again."""
    return isinstance(value, int) and value > LARGEST_INTEGER


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
    return int(digits) if int(digits) <= LARGEST_INTEGER else int(value)


def _number(text: str) -> Value:
    if not _is_plain_number(text):
        raise ValueError(f" is not a number: {quoted(text)}")
    return text


def _string(text: str) -> Value:
    if len(text) > 1 and text[0] == text[-1] == '"':
        return text[1:-1]
    return text


def _formatted(name: str) -> Check:
    accepts, noun = FORMATS[name]

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
            kept_of(name, text)
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

# -- lines ------------------------------------------------------------------------------------------------------------

_is_option_name = whole(r"[a-z][a-z_\-]*\d*")
_is_snapshot_name = whole(r"(?i:[a-z][a-z0-9_\-]+)")
_SNAPSTATE = r"snapstate:\s*(prepare|delete)\s*\Z"

# With each option its name again: thousands of configs share that one text.
_FAST_CHECKS = {option: (option, check) for option, check in CHECKS.items() if option not in ("args", "cdrom", "cpu", "description")}
_CHANGES = "value of '{}' changes when PVE writes and reads it again"
_NO_CHECKS: Mapping[str, Check] = {}
_NONE_FAST: Mapping[str, tuple[str, Check]] = {}


def section_name(line: str) -> str | None:
    """The text between the brackets of a line that begins a section, None for another line."""
    if line[:1] != "[":
        return None
    name, bracket, rest = line[1:].partition("]")
    return name if bracket and not rest.strip(WHITESPACE) else None


def option_name(line: str) -> str:
    """The text before the colon of a line that can set an option, '' for another line."""
    name, colon, _ = line.partition(":")
    return name if colon and (name in CHECKS or _is_option_name(name)) else ""


class ConfigSection:
    """A section and what was read from it. `kind` is main, pending, snapshot, special or unknown; lines count from 1."""

    __slots__ = ("at", "checks", "first", "kind", "last", "name", "values")

    def __init__(self, kind: str, name: str, first: int) -> None:
        self.kind = kind
        self.name = name
        self.first = first
        self.last = first
        self.values: dict[str, Value] = {}
        self.at: dict[str, int] = {}
        """Which line set an option."""
        self.checks = CHECKS
        if kind == "special":
            self.checks = FLEECING_CHECKS if name == "fleecing" else _NO_CHECKS

    @property
    def label(self) -> str:
        """Its name in Dropped.section."""
        return f"special:{self.name}" if self.kind == "special" else self.name

    @property
    def takes_anything(self) -> bool:
        """PVE does not check the contents of the cloud-init section, and we do not know those of a newer PVE."""
        return self.kind == "special" and self.name != "fleecing"


class Reading:
    """A config read line by line. After read() everything PVE takes from it is in the sections, the rest in `dropped` by line."""

    def __init__(self, text: str, cpu_models: Collection[str] = (), declared: DeclaredByNode | None = None) -> None:
        self.text = text
        self.lines = text.split("\n")
        self.main = ConfigSection("main", "", 1)
        self.pending: ConfigSection | None = None
        self.snapshots: dict[str, ConfigSection] = {}
        self.specials: dict[str, ConfigSection] = {}
        self.dropped: dict[int, Dropped] = {}
        self.newer: list[tuple[str, str]] = []
        """Options, and what of them only the node's PVE knows."""
        self._section = self.main
        self._cpu_models = cpu_models
        self._declared = declared or DeclaredByNode()
        self._description: list[str] = []
        self._unusual = "\r" in text or "snapstate:" in text

    def read(self) -> "Reading":
        """Reads all lines."""
        section = self._section
        values, at = section.values, section.at
        checks: Mapping[str, tuple[str, Check]] = _NONE_FAST if self._unusual else _FAST_CHECKS
        for number, line in enumerate(self.lines, 1):
            option, _, text = line.partition(":")
            known = checks.get(option)
            text = text.strip(WHITESPACE)
            if known is None or not text:
                self._read_line(number, line)
                if section is not self._section:
                    section = self._section
                    values, at = section.values, section.at
                    usual = section.kind in ("main", "pending", "snapshot") and not self._unusual
                    checks = _FAST_CHECKS if usual else _NONE_FAST
                continue
            option, check = known
            try:
                value = check(text)
            except ValueError as problem:
                self._refuse(number, option, text, problem)
                continue
            if option in values or (value is not text and (isinstance(value, str) or is_too_large(value))):
                self._check_option(number, option, text)
            else:
                values[option] = value
                at[option] = number
        self._finish_description()
        self._section.last = len(self.lines)
        return self

    def _read_line(self, number: int, line: str) -> None:
        bare = line.strip(WHITESPACE)
        if not bare:
            return
        name = section_name(line)
        if name is not None:
            self._open(number, name)
        elif self._section.kind == "unknown":
            self._drop(number, f"unknown section [{self._section.name}]")
        elif line[0] == "#":
            self._describe(number, line[1:], "\n")
        elif line.startswith("description:") and bare != "description:":
            self._describe(number, line[12:].strip(WHITESPACE), "")
        else:
            self._read_option(number, line)

    def _read_option(self, number: int, line: str) -> None:
        snapstate = re.search(_SNAPSTATE, line, re.ASCII) if self._unusual else None
        if snapstate:
            if snapstate.start():
                self._drop(number, "PVE takes this for a 'snapstate' line")
            self._set(number, "snapstate", snapstate[1])
            return
        option = option_name(line)
        text = line[len(option) + 1 :]
        if not option or not text:
            self._drop(number, "not a config line")
            return
        value = text.strip(WHITESPACE)
        if option == "delete" and value and self._section.kind != "pending":
            self._drop(number, "'delete' is only allowed in [PENDING]")
        elif option == "args" and value:
            self._set(number, option, value)
            if "\r" in value:
                self._drop(number, "PVE cannot write 'args' with a carriage return in it")
            elif self._section.kind != "special" and _changes_again(value):
                self._drop(number, _CHANGES.format(option))
        elif (option == "delete" and value) or self._section.takes_anything:
            self._set(number, option, value or text[-1])
        else:
            self._check_option(number, option, value or text[-1])

    def _check_option(self, number: int, option: str, text: str) -> None:
        check = self._section.checks.get(option)
        if check is None:
            if self._section.kind != "special" and "\r" not in text and option in self._declared:
                self._set(number, option, text)
                self.newer.append((option, f"the option '{option}'"))
            else:
                self._drop(number, f"unknown option '{option}'")
            return
        if "\r" in text:
            self._drop(number, f"value of '{option}' contains a carriage return")
            return
        try:
            value = check(text)
        except ValueError as problem:
            self._refuse(number, option, text, problem)
            return
        if option == "cpu":
            model = parse(option, text)["cputype"]
            if model not in CPU_MODELS and model not in self._cpu_models:
                self._drop(number, f"value of 'cpu': unknown CPU model {quoted(model)}")
                return
        self._set(number, "ide2" if option == "cdrom" else option, value)
        if is_too_large(value):
            self._drop(number, f"value of '{option}' is too large: PVE cannot read again what it writes for it")
        elif value is not text and isinstance(value, str) and _changes_again(value):
            self._drop(number, _CHANGES.format(option))

    def _refuse(self, number: int, option: str, text: str, problem: ValueError) -> None:
        """Drops a line with a value that PVE refuses, as far as our tables go; where the node's PVE knows more, it is kept as it stands."""
        newer: list[str] = []

        def declared(name: str, value: str) -> bool:
            if not self._declared.has(option, name, value):
                return False
            newer.append(f"{name}={value}")
            return True

        try:
            if self._section.kind == "special" or "\r" in text:
                raise problem
            parse(option, text, declared)
        except ValueError:
            self._drop(number, f"value of '{option}'{problem}")
            return
        self._set(number, option, text)
        self.newer += ((option, f"{words} of {option}") for words in dict.fromkeys(newer))

    def _set(self, number: int, option: str, value: Value) -> None:
        section = self._section
        if section.values.get(option, value) != value:
            former = section.at[option]
            if option != "snapstate":
                self.dropped.pop(former, None)
            self._drop(former, f"'{option}' comes again in line {number}, which counts")
        section.values[option] = value
        section.at[option] = number

    def _drop(self, number: int, reason: str) -> None:
        self.dropped.setdefault(number, Dropped(number, self._section.label, self.lines[number - 1], reason))

    def _describe(self, number: int, encoded: str, end: str) -> None:
        text, intact = decode(encoded)
        self._description.append(text + end)
        self._section.at["description"] = number
        if not intact:
            self._drop(number, "bytes that are not UTF-8 in the description: PVE replaces them")

    def _finish_description(self) -> None:
        if self._description:
            self._section.values["description"] = strip_end("".join(self._description))
            self._description = []

    def _open(self, number: int, name: str) -> None:
        self._finish_description()
        self._section.last = number - 1
        if name.upper() == "PENDING" and name.isascii():
            former, self.pending = self.pending, ConfigSection("pending", "PENDING", number)
            self._section = self.pending
        elif name[:8].lower() == "special:" and (name[8:] in SPECIAL_SECTIONS or self._declared.has_section(name[8:])):
            former = self.specials.get(name[8:])
            self._section = self.specials[name[8:]] = ConfigSection("special", name[8:], number)
        elif _is_snapshot_name(name):
            former = self.snapshots.get(name)
            self._section = self.snapshots[name] = ConfigSection("snapshot", name, number)
        else:
            former = None
            self._section = ConfigSection("unknown", name, number)
            self._drop(number, f"unknown section [{name}]")
        if former is not None:
            self._drop_section(former)

    def _drop_section(self, former: ConfigSection) -> None:
        for number in range(former.first, former.last + 1):
            line = self.lines[number - 1]
            if line.strip(WHITESPACE):
                reason = f"duplicate section [{former.label}]: only the last one counts"
                self.dropped[number] = Dropped(number, former.label, line, reason)


def _changes_again(text: str) -> bool:
    """Whether PVE, which takes one pair of quotes off when it reads and when it writes, reads another text than it has now."""
    written = text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text
    blank = len(text) == 1 and text in WHITESPACE
    return written != text or not text or (text.strip(WHITESPACE) != text and not blank)


# -- the description: comments, URL-encoded (encode_text and decode_text in PVE/ParseUtils.pm) -------------------------

_PERL_SPACE = "\t\n\v\f\r \x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000"
"""What \\s matches in a decoded string of Perl: not what str.strip() takes off."""

_CHARACTER = (
    rb"[\x00-\x7f]+|[\xc0-\xdf][\x80-\xbf]?|[\xe0-\xef][\x80-\xbf]{0,2}|[\xf0-\xf7][\x80-\xbf]{0,3}"
    rb"|[\xf8-\xfb][\x80-\xbf]{0,4}|[\xfc-\xfd][\x80-\xbf]{0,5}|\xfe[\x80-\xbf]{0,6}|\xff[\x80-\xbf]{0,12}|[\x80-\xbf]"
)
"""The bytes for which Perl's Encode puts one U+FFFD when they are no character; Python's codec counts them otherwise."""

_ESCAPE = rb"%([0-9A-Fa-f]{2})"


class Decoded(NamedTuple):
    """`intact` is False where bytes were not UTF-8: PVE puts U+FFFD in their place and writes that back."""

    text: str
    intact: bool


def decode(encoded: str) -> Decoded:
    """The text that PVE reads from `encoded`, a part of a line with its undecodable bytes escaped (surrogateescape).

    Unlike PVE's it never holds surrogates, which could not be printed: each is U+FFFD.
    """
    if "%" not in encoded and encoded.isascii():
        return Decoded(encoded, True)
    raw = re.sub(_ESCAPE, lambda match: bytes([int(match[1], 16)]), encoded.encode(errors="surrogateescape"))
    try:
        return Decoded(_printable(raw.decode(errors="surrogatepass")), True)
    except UnicodeDecodeError:
        return Decoded("".join(map(_character, re.findall(_CHARACTER, raw))), False)


def _printable(text: str) -> str:
    return re.sub("[\ud800-\udfff]", "\ufffd", text)


def _character(raw: bytes) -> str:
    try:
        return _printable(raw.decode(errors="surrogatepass"))
    except UnicodeDecodeError:
        return "\ufffd"


def strip_end(text: str) -> str:
    """`text` without the white space at its end, as PVE ends a description."""
    return text.rstrip(_PERL_SPACE)
