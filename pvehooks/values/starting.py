"""What a start finds on its node, or not: bridges, and what is at paths."""

from __future__ import annotations

from pvehooks.values.base import NamedTuple, Protocol


class NoBridge(NamedTuple):
    """A name that is no bridge: `instead` is what has the name ("a network card"), '' for nothing.

    `file` is the file that defines an interface of this name, `zone` the SDN zone of the VNet of this name ('' without), `here` whether that
    zone is for this node.
    """

    instead: str = ""
    file: str = ""
    zone: str = ""
    here: bool = True


class Bridges(Protocol):
    """The bridges of a node, Open vSwitch's and SDN's VNets among them."""

    def lacks(self, name: str) -> NoBridge | None:
        """What is known of a name that is no bridge; None where it is one, or may be."""

    def names(self) -> tuple[str, ...]:
        """Those that a guest may be given, sorted; what may be one of Open vSwitch's is among them."""

    def hooks(self) -> bool:
        """Whether the administrator has scripts run before starts of guests that have the guard: they may make one."""


class Gone(NamedTuple):
    """What a start needs and does not find: `words` say what is missing ("/var/lib/vz/... does not exist").

    `empty` is the directory where it and all of its kind would be, where that is empty: perhaps a disk is not mounted.
    """

    words: str
    empty: str = ""


class Paths(Protocol):
    """What is at the paths that a start needs; each answers None for what is there, and where that cannot be told for sure."""

    def volume(self, storage: str, volume: str) -> Gone | None:
        """A volume of a storage, by its name there."""

    def hooks(self) -> bool:
        """Whether the administrator has scripts run before starts of guests that have the guard: they may mount or make it."""

    def drive(self, path: str) -> Gone | None:
        """A disk or an image that is given by its path."""

    def port(self, path: str) -> Gone | None:
        """A character device: a serial or parallel port."""
