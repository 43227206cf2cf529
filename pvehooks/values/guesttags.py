"""Tags of guests: the option `tags`, how Proxmox VE stores it, and the two tags that are ours.

Source: pve-guest-common 6.0, GuestHelpers.pm, get_unique_tags; pve-common 9.0, ParseUtils.pm, split_list.
"""

from __future__ import annotations

import re

from pvehooks.values.base import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

OPTION = "tags"
BLOCKED = "pvehooks-blocked"
WARNING = "pvehooks-warning"
OURS = frozenset((BLOCKED, WARNING))

# \s of Perl, on bytes.
_GAP = re.compile(r"[,; \t\n\r\f\v]+")
_STYLE = re.compile(r"^[ \t]*tag-style:[ \t]*(.*?)[ \t\r]*$", re.MULTILINE)
_TRUE = frozenset(("1", "on", "yes", "true"))


class TagStyle(NamedTuple):
    """How the cluster's Proxmox VE stores tags: in the order of the alphabet, in lower case."""

    is_sorted: bool = True
    keeps_case: bool = False


def style(datacenter: str) -> TagStyle:
    """What `tag-style` in datacenter.cfg says."""
    found = _STYLE.findall(datacenter)
    words = dict(part.partition("=")[::2] for part in found[-1].split(",")) if found else {}
    return TagStyle(words.get("ordering") != "config", words.get("case-sensitive", "").lower() in _TRUE)


def split(value: str) -> list[str]:
    """The tags of an option, in its order."""
    return [tag for tag in _GAP.split(value) if tag]


def stored(tags: Iterable[str], style: TagStyle) -> str:
    """The option that Proxmox VE makes of these tags; '' of none."""
    tags = tags if style.keeps_case else [tag.lower() for tag in tags]
    return ";".join(dict.fromkeys(sorted(tags) if style.is_sorted else tags))


def ours(value: str) -> list[str]:
    """Those of ours among the tags of an option."""
    return [tag for tag in split(value) if tag in OURS] if value else []


def without_ours(value: str) -> str:
    """The option without the tags of ours; where there are none of them, as it is."""
    return ";".join(tag for tag in split(value) if tag not in OURS) if ours(value) else value
