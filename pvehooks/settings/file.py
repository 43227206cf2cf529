"""A settings file as text: its sections and options with their lines, its errors, and its values by configobj.

This module does not know which options exist; table.py does.
"""

from __future__ import annotations

import re

from pvehooks.values.base import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

# pmxcfs holds no larger file.
MAX_BYTES = 1 << 20
# configobj's regular expressions take quadratic time on a line.
_MAX_LINE = 4096

_BOMS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
_HEADER = re.compile(r"(\[+)([^][#'\"]+)(\]+)\s*(?:#.*)?")
_ITEM = r"""(?:"[^"]*"|'[^']*'|[^'",#\s][^,#]*)"""
_VALUE = re.compile(rf"(?:{_ITEM}\s*,\s*)*{_ITEM}?\s*(?:#.*)?")
_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,20}")
_DRIVER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}")
_DIRECTORY = re.compile(r"/[^\x00-\x1f\x7f]*")
_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,20}(?:\.[0-9]{0,20})?|\.[0-9]{1,20})")

SectionPath = tuple[str, ...]


class SettingsProblem(NamedTuple):
    """An error at a line (from 1; 0 means the file as a whole), as a phrase for a message."""

    line: int
    words: str


class SettingsSection(NamedTuple):
    """A section's header: `path` is ("rng",) for [rng] and ("guest 100", "rng") for [[rng]] below [guest 100]."""

    path: SectionPath
    line: int


class SettingsLine(NamedTuple):
    """An option: its section, its name, and its first and last line."""

    path: SectionPath
    name: str
    line: int
    last: int


class Scan(NamedTuple):
    """The contents of a file by line. Sections and options with a problem, and everything in such a section, are left out."""

    lines: list[str]
    sections: list[SettingsSection]
    options: list[SettingsLine]
    problems: list[SettingsProblem]


def shown(text: str) -> str:
    """A piece of the file in quotes, shortened, with every non-printable character escaped."""
    short = text if len(text) <= 60 else text[:57] + "..."
    return "'" + "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in short) + "'"


def header(path: SectionPath) -> str:
    """A section as it is written: "[rng]", or "[guest 100] [[rng]]"."""
    return " ".join("[" * depth + printable(name) + "]" * depth for depth, name in enumerate(path, 1))


def printable(text: str) -> str:
    """The same as shown(), without the quotes."""
    return shown(text)[1:-1]


def scan(content: bytes) -> Scan:
    """Splits a file into sections and options. One that is no UTF-8 text of at most 1 MiB gives one problem and nothing else."""
    problem = _unusable(content)
    if problem:
        return Scan([], [], [], [problem])
    scanner = _Scanner(content.decode("utf-8").split("\n"))
    scanner.run()
    return scanner.result


def _unusable(content: bytes) -> SettingsProblem | None:
    if len(content) > MAX_BYTES:
        return SettingsProblem(0, "is larger than 1 MiB")
    if content.startswith(_BOMS):
        return SettingsProblem(1, "starts with a byte order mark (BOM); save it as UTF-8 without one")
    nul = content.find(b"\0")
    if nul >= 0:
        return SettingsProblem(content.count(b"\n", 0, nul) + 1, "contains a NUL byte: this is not a text file")
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        bad = content[error.start]
        return SettingsProblem(content.count(b"\n", 0, error.start) + 1, f"byte 0x{bad:02x} is not UTF-8; save the file as UTF-8")
    for number, line in enumerate(content.split(b"\n"), 1):
        if len(line) > _MAX_LINE:
            return SettingsProblem(number, f"is longer than {_MAX_LINE} bytes; split it with triple quotes")
    return None


class _Scanner:
    """Walks the lines once. `_lost` is the depth of the section being skipped, 0 for none."""

    def __init__(self, lines: list[str]) -> None:
        self.result = Scan(lines, [], [], [])
        self._path: SectionPath = ()
        self._lost = 0
        self._seen: dict[tuple[SectionPath, str], int] = {}

    def run(self) -> None:
        at = 0
        while at < len(self.result.lines):
            text = self.result.lines[at].strip()
            last = at
            if text.startswith("["):
                self._header(at, text)
            elif text and not text.startswith("#"):
                last = self._option(at, text)
            at = last + 1

    def _problem(self, at: int, words: str) -> None:
        self.result.problems.append(SettingsProblem(at + 1, words))

    def _header(self, at: int, text: str) -> None:
        match = _HEADER.fullmatch(text)
        depth = len(text) - len(text.lstrip("["))
        if self._lost and depth > self._lost:
            return
        self._lost = 0
        self._path = self._path[: depth - 1]
        name = " ".join(match[2].split()) if match else ""
        path = (*self._path, name)
        if not match or not name or len(match[3]) != depth:
            self._lose(at, depth, f"{shown(text)} is not a section header like [rng]")
        elif depth > len(path):
            self._lose(at, depth, f"{shown(text)} needs a section with {depth - 1} bracket{'s' * (depth > 2)} above it")
        elif (self._path, f"[{name}]") in self._seen:
            first = self._seen[self._path, f"[{name}]"]
            self._lose(at, depth, f"section {header(path)} is given twice: put its options below line {first}, where it is first")
        else:
            self._seen[self._path, f"[{name}]"] = at + 1
            self._path = path
            self.result.sections.append(SettingsSection(path, at + 1))

    def _lose(self, at: int, depth: int, words: str) -> None:
        self._lost = depth
        self._problem(at, words)

    def _option(self, at: int, text: str) -> int:
        name, equals, value = (part.strip() for part in text.partition("="))
        last, trouble = self._extent(at, value)
        first = self._seen.get((self._path, name))
        if not self._lost and (not equals or not name or name[0] in "'\""):
            trouble = f"{shown(text)} is neither a [section] nor an option = value"
        elif not self._lost and first:
            trouble = f"option {shown(name)} is given twice in {header(self._path)}, first on line {first}"
        if trouble:
            self._problem(at, trouble)
        elif not self._lost:
            self._seen[self._path, name] = at + 1
            self.result.options.append(SettingsLine(self._path, name, at + 1, last + 1))
        return last

    def _extent(self, at: int, value: str) -> tuple[int, str]:
        """The index of the value's last line, and what is wrong with its quotes and commas."""
        lines = self.result.lines
        quotes = value[:3]
        if quotes not in ("'''", '"""'):
            return at, "" if _VALUE.fullmatch(value) else f"the quotes or commas in {shown(value)} do not match"
        rest = value[3:]
        last = at
        while quotes not in rest:
            last += 1
            if last == len(lines):
                return last - 1, f"the triple quotes that start here ({quotes}) are never closed"
            rest = lines[last]
        tail = rest.partition(quotes)[2].strip()
        return last, "" if not tail or tail.startswith("#") else f"{shown(tail)} follows the closing quotes"


def values(lines: Sequence[str], checks: Mapping[SettingsLine, str]) -> tuple[dict[SettingsLine, Any], dict[SettingsLine, str | None]]:
    """The values of options of those lines, each by its configobj check; and of those that fail it the value as written.

    That is None for a value that configobj cannot parse.
    """
    from configobj import ConfigObj, ConfigObjError
    from configobj.validate import ValidateError, Validator

    validator = Validator(CHECKS)
    good: dict[SettingsLine, Any] = {}
    bad: dict[SettingsLine, str | None] = {}
    for option, check in checks.items():
        raw = None
        try:
            raw = ConfigObj(list(lines[option.line - 1 : option.last]), interpolation=False)[option.name]
            good[option] = validator.check(check, raw)
        except ConfigObjError:
            bad[option] = None
        except ValidateError:
            bad[option] = ", ".join(raw) if isinstance(raw, list) else str(raw)
    return good, bad


def _integer(value: Any, min: str | None = None, max: str | None = None) -> Any:
    """An integer as configobj has it, without what int() also takes: underscores, other scripts' digits, thousands of digits."""
    from configobj.validate import VdtTypeError, is_integer

    if not isinstance(value, str) or not _WHOLE_NUMBER.fullmatch(value):
        raise VdtTypeError(value)
    return is_integer(value, min, max)


def _float(value: Any, min: str | None = None, max: str | None = None) -> Any:
    """A float as configobj has it, without what float() also takes: nan, infinity, exponents, underscores."""
    from configobj.validate import VdtTypeError, is_float

    if not isinstance(value, str) or not _NUMBER.fullmatch(value):
        raise VdtTypeError(value)
    return is_float(value, min, max)


def _directory(value: Any, *words: str) -> Any:
    """One of the words, or an absolute path."""
    from configobj.validate import VdtTypeError

    if not isinstance(value, str) or not (value in words or _DIRECTORY.fullmatch(value)):
        raise VdtTypeError(value)
    return value.rstrip("/") or "/"


def _driver(value: Any) -> Any:
    """The name of a driver of the node; a device on vfio-pci is with no driver of the node."""
    from configobj.validate import VdtTypeError

    if not isinstance(value, str) or not _DRIVER.fullmatch(value) or value == "vfio-pci":
        raise VdtTypeError(value)
    return value


def _methods(value: Any, *known: str) -> Any:
    """One of the known words, or several of them with commas but for the last two, which stand for the whole."""
    from configobj.validate import VdtTypeError

    words = value if isinstance(value, list) else [value]
    if not words or any(word not in (known if len(words) == 1 else known[:-2]) for word in words) or len(set(words)) < len(words):
        raise VdtTypeError(value)
    return ",".join(words)


# Our own checks, in place of configobj's or in addition to them.
CHECKS = {"integer": _integer, "float": _float, "directory": _directory, "driver": _driver, "methods": _methods}
