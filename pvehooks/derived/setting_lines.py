"""Mistakes in lines of modprobe.d(5) and modules-load.d(5): why a line, or a part of it, has no effect, and how it should read."""

from __future__ import annotations

import re

from pvehooks.values import NamedTuple

# kmod's libkmod-config.c, kmod_config_parse: any other line is skipped.
COMMANDS = ("alias", "blacklist", "install", "options", "remove", "softdep", "weakdep")
# What keyboards of phones and web pages put in place of quotes, dashes and blanks.
_TYPOGRAPHIC = {
    **dict.fromkeys("\u201c\u201d\u201e\u201f\u00ab\u00bb\u2033", '"'),
    **dict.fromkeys("\u2018\u2019\u201a\u201b\u2032\u00b4", "'"),
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-"),
    **dict.fromkeys("\u00a0\u2007\u202f", " "),
    **dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff", ""),
}
_NAME = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_PARAMETER = re.compile(r"[A-Za-z0-9_]+(?:=.*)?", re.ASCII)
_ID = re.compile(r"[0-9a-fA-F]{1,8}:[0-9a-fA-F]{1,8}(?::[0-9a-fA-F]{1,8}){0,4}", re.ASCII)
_ADDRESS = re.compile(r"(?:[0-9a-fA-F]{4}:)?[0-9a-fA-F]{2}:[0-9a-fA-F]{2}(?:\.[0-7])?", re.ASCII)
_LIKE_ADDRESS = re.compile(r"[0-9a-fA-F]{4}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7]|[0-9a-fA-F]{1,2}:[0-9a-fA-F]{1,2}\.[0-7]", re.ASCII)


class Mistake(NamedTuple):
    """`why` says what happens to the line as it is; `right` is the line as it should read, several with line ends between, '' where only its author knows."""

    why: str
    right: str


def plain(text: str) -> str:
    """The text with ASCII in place of typographic quotes, dashes and blanks."""
    return "".join(_TYPOGRAPHIC.get(char, char) for char in text)


def module_name(text: str) -> str:
    """A module's name as the kernel has it: modprobe takes - and _ for the same."""
    return text.replace("-", "_")


def of_modprobe(text: str) -> Mistake | None:
    """The first mistake in a line of a file of modprobe.d, None where it has an effect as a whole."""
    if plain(text) != text:
        right = plain(text).strip()
        if not right or right.startswith("#"):
            # A byte order mark before nothing, or before a comment.
            return None
        again = of_modprobe(right)
        return Mistake("it has typographic quotes, dashes or blanks, which are letters to modprobe", again.right if again else right)
    if text.endswith("\r"):
        return Mistake(
            "it ends with a carriage return, as lines of Windows do, which modprobe takes for a part of the last word", text.strip()
        )
    words = text.split()
    if words[0] not in COMMANDS:
        return _unknown_command(words)
    uncommented = _before_comment(words)
    if words[0] == "blacklist":
        return _blacklist(uncommented)
    if words[0] == "options":
        return _options(uncommented)
    if words[0] == "softdep" and len(words) > 2 and not {"pre:", "post:"} & set(words):
        fixed = [f"{word}:" if word in ("pre", "post") else word.replace("pre=", "pre: ").replace("post=", "post: ") for word in words]
        right = " ".join(fixed) if fixed != words else f"{words[0]} {words[1]} pre: {' '.join(words[2:])}"
        return Mistake("modprobe ignores it, because 'pre:' or 'post:' is missing", right)
    return None


def _before_comment(words: list[str]) -> list[str]:
    return next((words[:at] for at, word in enumerate(words) if word.startswith("#")), words)


def _unknown_command(words: list[str]) -> Mistake:
    """What the first word was meant to be."""
    from difflib import get_close_matches

    first, *rest = words
    why = f"modprobe ignores it, because '{first}' is not a command"
    command, sign, value = (*re.split(r"([=:,;])", first, maxsplit=1), "", "")[:3]
    if sign and command.lower() in COMMANDS:
        return Mistake(why, " ".join(filter(None, (command.lower(), value, *rest))))
    if rest and first.lower() + rest[0].lower() in COMMANDS:
        return _corrected(why, " ".join((first.lower() + rest[0].lower(), *rest[1:])))
    near = get_close_matches(first.lower().rstrip(":=,;"), COMMANDS, 1, 0.8)
    if near:
        return _corrected(why, " ".join((near[0], *rest)))
    module, dot, parameter = first.partition(".")
    if dot and "=" in parameter and _NAME.fullmatch(module):
        return _corrected(why, f"options {module} {' '.join((parameter, *rest))}")
    if rest and _NAME.fullmatch(first) and all("=" in word for word in rest[:1]):
        return _corrected(why, f"options {' '.join(words)}")
    return Mistake(why, "")


def _corrected(why: str, right: str) -> Mistake:
    """A corrected line may have one more mistake."""
    again = of_modprobe(right)
    return Mistake(why, again.right or right if again else right)


def _blacklist(words: list[str]) -> Mistake | None:
    """modprobe reads one name of a line."""
    names = [part for word in words[1:] for part in word.split(",") if part]
    bare = [name.removesuffix(".ko") for name in names]
    right = "\n".join(f"blacklist {name}" for name in bare)
    if len(words) == 1:
        return Mistake("modprobe ignores it, because it names no module", "")
    if not names:
        return Mistake(f"no module is named '{words[1]}'", "")
    if len(names) > 1:
        first = f"modprobe reads one name per line and ignores {', '.join(names[1:])}"
        return Mistake(first if words[1] == names[0] else f"modprobe reads '{words[1]}' as one name", right)
    if bare != names or words[1] != names[0]:
        return Mistake(f"no module is named '{words[1]}'", right)
    return None


def _options(words: list[str]) -> Mistake | None:
    """The kernel ignores parameters that a module does not have, so a blank inside a value ends it (its kernel/params.c)."""
    if len(words) > 1 and re.search(r"[.=]", words[1]):
        module, _, parameter = words[1].partition(".")
        if _NAME.fullmatch(module) and "=" in parameter:
            return Mistake(f"no module is named '{words[1]}'", f"options {module} {' '.join((parameter, *words[2:]))}")
        return Mistake(f"no module is named '{words[1]}'", "")
    if len(words) < 3:
        return Mistake("modprobe ignores it, because it sets no parameter", "")
    module, parameters = words[1], words[2:]
    text = " ".join(parameters)
    if '"' in text or "'" in text:
        return None
    whole = re.sub(r"\s*=\s*", "=", re.sub(r"\s*,\s*", ",", text))
    if whole != text:
        lost = [word for word in parameters if "=" not in word.strip("=,") and not _PARAMETER.fullmatch(word)] or parameters[1:]
        why = f"a blank ends the value, and the kernel ignores {' '.join(lost)}"
        return _corrected(why, f"options {module} {whole}")
    if module_name(module) != "vfio_pci":
        return None
    return _vfio_parameters(parameters, f"options {module}")


def _vfio_parameters(parameters: list[str], start: str) -> Mistake | None:
    """Parameters of vfio-pci that are none, and ids that are none."""
    for at, word in enumerate(parameters):
        name, equals, value = word.partition("=")
        others = (parameters[:at], parameters[at + 1 :])
        prefix = re.sub(r"^vfio[-_]pci[._-]", "", name)
        if equals and name != "ids" and (prefix in ("ids", "id") or name.lower() in ("id", "ids", "pci_ids", "device_ids")):
            return Mistake(f"vfio-pci has no parameter '{name}'", " ".join((start, *others[0], f"ids={value}", *others[1])))
        if equals and name == "ids":
            wrong = ids_mistake(value)
            if wrong:
                right = " ".join((start, *others[0], f"ids={wrong.right}", *others[1])) if wrong.right else ""
                return Mistake(wrong.why, right)
    return None


def ids_mistake(value: str) -> Mistake | None:
    """What is wrong with a list of ids (vendor:device, with commas between), as vfio-pci reads it; `right` is the list."""
    items = [item for item in value.strip("\"'").split(",") if item]
    bad = [item for item in items if _LIKE_ADDRESS.fullmatch(item) or not _ID.fullmatch(item)]
    if not bad:
        return None
    if _ADDRESS.fullmatch(bad[0]) and "." in bad[0]:
        return Mistake(f"'{bad[0]}' is an address, and vfio-pci takes ids such as 10de:2684", "")
    parts = re.findall(r"[0-9a-fA-F]{4}:[0-9a-fA-F]{4}", value)
    return Mistake(f"'{bad[0]}' is no id such as 10de:2684, and vfio-pci ignores it", ",".join(parts) if len(parts) >= len(items) else "")


def of_modules_load(text: str) -> Mistake | None:
    """The mistake in a line of modules-load.d(5), which is a module's name and nothing else."""
    written = text.strip()
    name = plain(written).strip().strip("\"'").removesuffix(".ko").rstrip(",;")
    if _NAME.fullmatch(written):
        return None
    if _NAME.fullmatch(name):
        return Mistake("systemd-modules-load finds no module with this name", name)
    why = "systemd-modules-load reads the whole line as the name of a module and finds none"
    words = plain(written).split() or [""]
    if words[0] in COMMANDS:
        return Mistake(f"{why}; such a line belongs in a file of /etc/modprobe.d that ends in .conf", "")
    if words[0] == "modprobe" and len(words) == 2:
        return Mistake(why, words[1])
    if _NAME.fullmatch(words[0]) and all("=" in word for word in words[1:]):
        return Mistake(f"{why}; parameters belong in a file of /etc/modprobe.d: options {' '.join(words)}", words[0])
    return Mistake(why, "")
