"""The names of the guard's hookscripts. The name alone defines which former hookscript a stub runs first.

STORAGE:snippets/pvehooks-guard runs none; STORAGE:snippets/pvehooks-guard-OTHER+NAME runs OTHER:snippets/NAME.
"""

from __future__ import annotations

import re

NAME = "pvehooks-guard"
# NAME_MAX of linux/limits.h.
_LONGEST = 255
# Storages as PVE names them (pve-storage-id); file names that need no quoting anywhere.
_STORAGE = r"[A-Za-z][A-Za-z0-9\-_.]*[A-Za-z0-9]"
_FILE = r"[A-Za-z0-9_@=.+-]+"
_SNIPPET = re.compile(rf"({_STORAGE}):snippets/([^/\n]+)", re.ASCII)
_FORMER = re.compile(rf"({_STORAGE}):snippets/({_FILE})", re.ASCII)
_STUB = re.compile(rf"({_STORAGE}):snippets/{NAME}(?:-({_STORAGE})\+({_FILE}))?", re.ASCII)


class UnfitName(ValueError):
    """A hookscript that no stub can run first; the message says why."""


def name_for(former: str) -> str:
    """The file name of the stub that runs the hookscript `former` first, '' for none. Raises UnfitName."""
    if not former:
        return NAME
    if not _SNIPPET.fullmatch(former):
        raise UnfitName(f"'{former}' is not a snippet (STORAGE:snippets/NAME)")
    match = _FORMER.fullmatch(former)
    if match is None or match[2] in (".", ".."):
        raise UnfitName(f"the name of '{former}' contains other characters than letters, digits and _ @ = . + -")
    if match[2].startswith(NAME):
        raise UnfitName(f"'{former}' has the name of a hookscript of pvehooks but is not one")
    name = f"{NAME}-{match[1]}+{match[2]}"
    if len(name) > _LONGEST:
        raise UnfitName(f"the name of '{former}' is too long")
    return name


def is_stub(volid: str) -> bool:
    """Whether the volume is one of the guard's hookscripts, by its name."""
    return _STUB.fullmatch(volid) is not None


def former_of(volid: str) -> str:
    """The hookscript that this stub runs first, '' for none."""
    match = _STUB.fullmatch(volid)
    return f"{match[2]}:snippets/{match[3]}" if match and match[2] else ""
