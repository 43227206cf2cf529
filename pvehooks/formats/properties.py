"""The schema of one property of a property string (PVE::JSONSchema in pve-common)."""

from __future__ import annotations

from pvehooks.values.base import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal


class Property(NamedTuple):
    """One property. What is '', None, () or False is not restricted."""

    type: Literal["boolean", "integer", "number", "string"]
    required: bool = False
    # Whether its name may be left out.
    default_key: bool = False
    enum: tuple[str, ...] = ()
    # Must match the whole value.
    pattern: str = ""
    # What the pattern means, in words.
    noun: str = ""
    # An entry of checks.FORMATS.
    format: str = ""
    minimum: float | None = None
    maximum: float | None = None
    max_length: int | None = None
    """In bytes."""
    # The property that this one is another name for.
    alias: str = ""
    # Of an alias: the property whose value its own name is, if given.
    key_alias: str = ""
    # A property that must be there too.
    requires: str = ""


def flag(*, required: bool = False, default_key: bool = False) -> Property:
    """A boolean."""
    return Property("boolean", required, default_key)


def integer(minimum: float | None = None, maximum: float | None = None, *, required: bool = False, default_key: bool = False) -> Property:
    """A whole number within limits."""
    return Property("integer", required, default_key, minimum=minimum, maximum=maximum)


def number(minimum: float | None = None, maximum: float | None = None) -> Property:
    """A decimal number within limits."""
    return Property("number", minimum=minimum, maximum=maximum)


def enum(*values: str, required: bool = False, default_key: bool = False) -> Property:
    """One of the given texts."""
    return Property("string", required, default_key, values)


def string(
    *,
    required: bool = False,
    default_key: bool = False,
    pattern: str = "",
    noun: str = "",
    form: str = "",
    max_length: int | None = None,
    requires: str = "",
) -> Property:
    """A text with a pattern or a named format, or any text."""
    return Property("string", required, default_key, (), pattern, noun, form, max_length=max_length, requires=requires)
