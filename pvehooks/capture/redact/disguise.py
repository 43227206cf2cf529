"""Names, serial numbers and addresses replaced, the same one by the same one wherever it stands: in files, names, links and command lines.

All words of files that people and their programs write go, but for those that we know (vocabulary); of the kernel's own files those that
were found to be such words, and what is in places that identify an owner (a serial, an address, a pool's name).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from pvehooks.capture.redact import vocabulary
from pvehooks.capture.redact.addresses import Replacing

_NAME = r"[A-Za-z0-9][A-Za-z0-9_.+-]*"
# Forms that are known wherever they stand, the first that matches at a place.
_FORMS = (
    # A machine's version: pc-q35-9.2+pve1.
    r"(?P<link>(?<![A-Za-z0-9_])(?:upper|lower)_(?=[A-Za-z0-9]))",
    r"(?P<version>(?<=[0-9])\+pve[0-9]{1,3}(?![A-Za-z0-9_]))",
    r"(?P<lvm2>LVM-[A-Za-z0-9]{32}(?:[A-Za-z0-9]{32})?(?![A-Za-z0-9]))",
    r"(?P<lvm>(?<![A-Za-z0-9-])[A-Za-z0-9]{6}-(?:[A-Za-z0-9]{4}-){5}[A-Za-z0-9]{6}(?![A-Za-z0-9-]))",
    r"(?P<uuid>(?<![A-Za-z0-9])[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}(?![A-Za-z0-9]))",
    r"(?P<pairs>(?<![0-9a-zA-Z:])(?:[0-9a-fA-F]{2}(?P<mark>[:-]))(?:[0-9a-fA-F]{2}(?P=mark)){4,18}[0-9a-fA-F]{2}(?![0-9a-zA-Z:]))",
    r"(?P<ipv4>(?<![\w.])(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)(?![\w.]|\.\d)(?:/(?:3[0-2]|[12]?\d)(?!\d))?)",
    r"(?P<ipv6>(?<![\w:.])(?=[0-9a-fA-F:]*:[0-9a-fA-F]*:)(?:[0-9a-fA-F]{1,4}|:)[0-9a-fA-F:]*:[0-9a-fA-F:]*(?![\w:.]))",
    r"(?P<digest>(?<![A-Za-z0-9])(?:[0-9a-f]{64}|[0-9a-f]{40})(?![A-Za-z0-9]))",
)
_WORD = r"(?P<word>[A-Za-z0-9_]+)"
_ENX = re.compile(r"(enx|wlx)([0-9a-f]{12})")
_HEX_WORD = re.compile(r"(0x)?([0-9a-f]{5,}|[0-9A-F]{5,})")
# The "UUID" of a FAT file system.
_FAT = re.compile(r"[0-9A-F]{4}-[0-9A-F]{4}")
# As a word it may stand for anything.
_SHORT = re.compile(r"[0-9]{2,5}")
_TRIES = 200
Stays = Callable[[str, str], bool]
"""Whether a word stays in a file all words of which are replaced: called with the word and the text behind it."""


class Disguise:
    """What is replaced by what. First all names are learnt, then all texts; then replacements may be asked for, in any order.

    `digests` are SHA sums of contents that change, by what they will be.
    """

    def __init__(self, key: bytes) -> None:
        self.made = Replacing(key)
        self.digests: dict[str, str] = {}
        self.labels: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self._words: dict[str, str] = {}
        self._taken: set[str] = set()
        self._kept: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    # -- learning -----------------------------------------------------------------------------------------------------

    def keep(self, words: Iterable[str]) -> None:
        """These words stay, wherever they stand: drivers, modules."""
        self._kept.update(words)

    def learn(self, name: str) -> None:
        """A name that a person or a program gave: replaced as a whole wherever it stands, unless PVE, or our own code, has it too."""
        if not name or name in self._names or name in self._kept or vocabulary.is_default(name) or not re.fullmatch(_NAME, name):
            return
        self._pattern = None
        fat = self.made.hexadecimal(name, "fat") if _FAT.fullmatch(name) else None
        new = self._names[name] = self._form(name) or fat or self._another(name)
        if "-" in name:
            # device-mapper doubles dashes.
            self._names[name.replace("-", "--")] = new.replace("-", "--")

    def learn_label(self, name: str) -> str:
        """A guest's name, replaced where it is the guest's name, whatever it is."""
        self.learn(name)
        if name not in self.labels:
            plain = re.fullmatch(_NAME, name) is not None
            self.labels[name] = self._names.get(name) or (self._another(name) if plain else self._replaced(name, True, None))
        return self.labels[name]

    def learn_words(self, text: str, stays: Stays | None = None) -> None:
        """All words of a text that may not stay."""
        self._replaced(text, True, stays)

    # -- replacing ----------------------------------------------------------------------------------------------------

    def text(self, text: str, strict: bool = False, stays: Stays | None = None) -> str:
        """The text with what is known replaced; `strict`: with every word replaced that may not stay."""
        return self._replaced(text, strict, stays)

    def content(self, raw: bytes, strict: bool = False, stays: Stays | None = None) -> bytes:
        """The same for bytes; what is no UTF-8 stays."""
        text = raw.decode("utf-8", "surrogateescape")
        return self._replaced(text, strict, stays).encode("utf-8", "surrogateescape")

    def name(self, name: str) -> str:
        """What stands for a name that was learnt, else the name itself."""
        return self._names.get(name, name)

    def identifier(self, text: str) -> str:
        """A serial number or world-wide name, whatever it looks like; its words are replaced elsewhere, too, but for a short number."""
        bare = text.strip("\0 \t\r\n")
        if _SHORT.fullmatch(bare):
            return text.replace(bare, self._short(bare))
        for word in vocabulary.WORD.findall(text):
            if word not in self._words and not (
                len(word) < 4 or (word.isdecimal() and len(word) < 6) or word.lower() in vocabulary.words()
            ):
                self._words[word] = self._word(word)
        return self._replaced(text, True, None)

    def _replaced(self, text: str, strict: bool, stays: Stays | None) -> str:
        if self._pattern is None:
            names = "|".join(map(re.escape, sorted(self._names, key=len, reverse=True)))
            # sysfs' links between interfaces are upper_NAME and lower_NAME.
            named = rf"(?P<name>(?:(?<![A-Za-z0-9_])|(?<=upper_)|(?<=lower_))(?:{names})(?![A-Za-z0-9_]))"
            self._pattern = re.compile("|".join((*_FORMS, *([named] if names else []), _WORD)))

        def put(match: re.Match[str]) -> str:
            kind, found = match.lastgroup, match[0]
            if kind == "word":
                behind = text[match.end() : match.end() + 1]
                return self._put_word(found, strict and not (stays and stays(found, behind)))
            if kind == "name":
                return self._names[found]
            form = self._form(found, str(kind))
            # What only looks like an address is read word by word.
            return vocabulary.WORD.sub(lambda word: self._put_word(word[0], strict), found) if form is None else form

        return self._pattern.sub(put, text)

    def _put_word(self, word: str, strict: bool) -> str:
        known = self._words.get(word)
        if known is None:
            if not strict or word in self._kept or vocabulary.may_stay(word):
                enx = _ENX.fullmatch(word)
                return enx[1] + self.made.mac(enx[2]) if enx else word
            known = self._words[word] = self._word(word)
        return known

    def short_ones(self, text: str) -> str:
        """A list of identifiers with commas between, of which only short numbers are replaced: nowhere else are they."""
        return ",".join(self._short(each) if _SHORT.fullmatch(each) else each for each in text.split(","))

    # -- names made -------------------------------------------------------------------------------------------------------

    def _word(self, word: str) -> str:
        enx = _ENX.fullmatch(word)
        if enx:
            return enx[1] + self.made.mac(enx[2])
        if len(word) == 32 and word.isalnum():
            return self._long(word)
        if word.isdecimal():
            # A number of 64 bits stays one.
            return word[:1] + self.made.like(word)[1:] if len(word) < 20 else "1" + self.made.like(word)[1:].replace("9", "8")
        match = _HEX_WORD.fullmatch(word)
        if match and any(char.isdigit() for char in match[2]):
            new = self.made.hexadecimal(match[2])
            return (match[1] or "") + (new if match[1] is None else match[2][0] + new[1:])
        return self._another(word)

    def _short(self, text: str) -> str:
        """What stands for an identifier that is no more than a short number: another of as many digits; none for zeros."""
        number = int(text)
        return f"{self.made.permuted('short', number, range(1, 10 ** len(text))):0{len(text)}}" if number else text

    def _another(self, text: str) -> str:
        """A text of the same form that is no known word, and that stands for nothing else."""
        for number in range(_TRIES):
            new = self.made.like(text, f"word {number}")
            if new not in self._taken and new != text and new.lower() not in vocabulary.words() and new not in self._kept:
                break
        self._taken.add(new)
        return new

    def _long(self, digits: str) -> str:
        """32 letters or digits: a UUID without its dashes, or one of LVM's."""
        if vocabulary.UUID.fullmatch(_dashed(digits)):
            return self.made.hexadecimal(digits, "uuid")
        return self.made.like(digits, "lvm")

    def _form(self, text: str, kind: str = "") -> str | None:
        """What replaces a text of a known form; None where it only looks so."""
        if not kind:
            match = re.fullmatch("|".join(_FORMS), text)
            kind = str(match.lastgroup) if match else ""
        if kind in ("version", "link"):
            return text
        if kind == "uuid":
            return text if text.lower() in vocabulary.uuids() else self.made.hexadecimal(text, "uuid")
        if kind == "lvm":
            plain = iter(self._long(text.replace("-", "")))
            return "".join(char if char == "-" else next(plain) for char in text)
        if kind == "lvm2":
            return "LVM-" + "".join(self._long(text[at : at + 32]) for at in range(4, len(text), 32))
        if kind == "pairs":
            return self.made.mac(text)
        if kind == "digest":
            return self.digests.get(text) or self.made.hexadecimal(text, "digest")
        return self._address(text, kind)

    def _address(self, text: str, kind: str) -> str | None:
        try:
            if kind == "ipv4":
                address, slash, bits = text.partition("/")
                return f"{self.made.ipv4(address, int(bits or 32))}{slash}{bits}"
            return self.made.ipv6(text) if kind == "ipv6" else None
        except ValueError:
            return None


def _dashed(digits: str) -> str:
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
