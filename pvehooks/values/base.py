"""What all values have in common."""

from __future__ import annotations

from typing import NamedTuple


class Unread(NamedTuple):
    """A fact that could not be read, and why (words for a person)."""

    why: str


class Lazy:
    """Its annotated attributes are worked out when first asked for, by the methods of its reader that have their names."""

    _reader: object

    def __getattr__(self, name: str) -> object:
        """Works out what is asked for the first time; from then on it is an ordinary attribute."""
        if name not in type(self).__annotations__:
            raise AttributeError(name)
        value = getattr(self._reader, name)(self)
        self.__dict__[name] = value
        return value
