"""What a start needs on its node: bridges, and files at paths."""

from __future__ import annotations

from pvehooks.values.base import NamedTuple, Protocol, Unread


class NoBridge(NamedTuple):
    """A name that is no bridge."""

    # What has this name ("a network card"), '' for nothing.
    instead: str = ""
    # The file that defines an interface of this name.
    file: str = ""
    # The SDN zone of the VNet of this name, '' without one.
    zone: str = ""
    # Whether that zone includes this node.
    here: bool = True


class Bridges(Protocol):
    """The bridges of a node, including those of Open vSwitch and the VNets of SDN."""

    def lacks(self, name: str) -> NoBridge | None:
        """What is known about a name that is no bridge; None if it is one, or may be one."""

    def names(self) -> tuple[str, ...]:
        """The bridges that a guest can use, sorted, including names that may be bridges of Open vSwitch."""

    def hooks(self) -> bool:
        """Whether there are hooks that run before starts of guests with the guard: they may create a bridge."""


class Gone(NamedTuple):
    """A file that a start needs and that is missing: `words` are the phrase ("/var/lib/vz/... does not exist").

    `empty` is the directory for it and all files of its kind, if that is empty: perhaps a disk is not mounted.
    """

    words: str
    empty: str = ""


class Paths(Protocol):
    """What exists at the paths that a start needs; each method returns None for a file that exists, or if that is uncertain."""

    def volume(self, storage: str, volume: str) -> Gone | None:
        """A volume of a storage, by its name there."""

    def hooks(self) -> bool:
        """Whether there are hooks that run before starts of guests with the guard: they may mount or create it."""

    def drive(self, path: str) -> Gone | None:
        """A disk or an image that is given by its path."""

    def port(self, path: str) -> Gone | None:
        """A character device: a serial or parallel port."""

    def snippet(self, volid: str) -> str | Unread:
        """The text of a snippet; Unread also where reading it may take for ever, on network storage."""
