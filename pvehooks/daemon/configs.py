"""Configs as they are read: at the start once, for all that want them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pvehooks.facts.guests import configs as guest_facts
from pvehooks.host import Host


class ConfigReads:
    """Reads configs. A read takes pmxcfs 0.1 ms, and at the start three want each: who keeps hookscripts, the review, the index of guests."""

    def __init__(self, host: Host, node: str) -> None:
        self._host = host
        self._node = node
        # By VMID, of this node; None: nothing is kept.
        self._kept: dict[int, bytes] | None = None

    @contextmanager
    def kept(self) -> Iterator[None]:
        """What is read of this node's guests is kept for the next who asks, until the end of this.

        To be begun once the guests are watched: one that changes after it was read is reviewed again.
        """
        self._kept = {}
        try:
            yield
        finally:
            self._kept = None

    def read(self, node: str, vmid: int) -> bytes | OSError:
        """The bytes of a config, or the error that there were instead."""
        if self._kept is None or node != self._node:
            return guest_facts.read_raw_or_error(self._host, node, vmid)
        if vmid not in self._kept:
            raw = guest_facts.read_raw_or_error(self._host, node, vmid)
            if isinstance(raw, OSError):
                return raw
            self._kept[vmid] = raw
        return self._kept[vmid]
