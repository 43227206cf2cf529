"""HTML made of calls: text is always escaped, so that it cannot be forgotten. Names, descriptions and serials are a tenant's."""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator

from pvehooks.wording import printable

_VOID = frozenset({"br", "hr", "link", "meta"})


class Markup(str):
    """Text that is HTML already. What is put together with other text is plain text again, and is escaped once more."""

    __slots__ = ()


Content = str | Iterable["Content"] | None


def tag(name: str, /, *content: Content, **attributes: str | int | bool | None) -> Markup:
    """An element; a str is escaped and control characters in it are made visible, Markup goes in as it is, None is nothing.

    Attributes: `class_` is class, `aria_label` aria-label; True is one without a value, None and False are none.
    """
    return Markup(f"<{name}{''.join(_attributes(attributes))}>{'' if name in _VOID else f'{join(*content)}</{name}>'}")


def join(*content: Content) -> Markup:
    """Pieces of content without an element around them."""
    return Markup("".join(_pieces(content)))


def _pieces(content: Iterable[Content]) -> Iterator[str]:
    for piece in content:
        if isinstance(piece, Markup):
            yield piece
        elif isinstance(piece, str):
            yield html.escape(printable(piece), quote=False)
        elif piece is not None:
            yield from _pieces(piece)


def _attributes(attributes: dict[str, str | int | bool | None]) -> Iterator[str]:
    for name, value in attributes.items():
        spelt = name.rstrip("_").replace("_", "-")
        if value is True:
            yield f" {spelt}"
        elif value is not None and value is not False:
            yield f' {spelt}="{html.escape(printable(str(value)))}"'
