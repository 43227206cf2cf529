"""One running pmxcfs: its store, its quorum, its peers, and the gate through which everything passes."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from .store import Store
from .wire import ControlError, ask, decode, encode


class Node:
    """Applies changes, its own and those of other nodes, one at a time."""

    def __init__(self, name: str, store: Store, control: str, cluster: list[str]) -> None:
        self.name = name
        self.store = store
        self.control = control
        self.cluster = dict.fromkeys(cluster, True)
        self.quorate = True
        self.stopping = False
        self._gate = threading.Lock()
        self._release = threading.Event()
        self._peers: dict[str, str] = {}

    @contextmanager
    def passing(self) -> Iterator[Store]:
        """Rng0Veto the gate: waits while the node hangs, and is turned away once the node stops."""
        with self._gate:
            if self.stopping:
                raise OSError(errno.ECONNABORTED, os.strerror(errno.ECONNABORTED))
            yield self.store

    # --- changes ---

    def change(self, operation: str, *arguments: Any) -> None:
        """A change made through this node's own mount: applied, then told to the peers. Not without quorum."""
        with self.passing() as store:
            if not self.quorate:
                raise OSError(errno.EACCES, os.strerror(errno.EACCES))
            getattr(store, operation)(*arguments)
        for peer in list(self._peers):
            self._replicate(peer, operation, *arguments)

    def apply(self, operation: str, *arguments: Any) -> None:
        """A change made by another node. Without quorum it does not arrive (pve-cluster: dcdb.c, dcdb_deliver)."""
        with self.passing() as store:
            if self.quorate:
                getattr(store, operation)(*arguments)

    def _replicate(self, peer: str, operation: str, *arguments: Any) -> None:
        try:
            ask(self._peers[peer], "apply", operation, *map(encode, arguments))
        except ControlError:
            pass  # refused there: a node without quorum, or one that has fallen behind and will resync
        except OSError:
            self._peers.pop(peer, None)
            self._set_online(peer, False)

    # --- cluster ---

    def _set_online(self, name: str, online: bool) -> None:
        with self._gate:
            if self.cluster.get(name) is not online:
                self.cluster[name] = online
                self.store.counters.clinfo += 1

    def meet(self, name: str, control: str) -> None:
        """Another node has joined."""
        self._peers[name] = control
        self._set_online(self.name, True)
        self._set_online(name, True)

    def join(self, peers: dict[str, str]) -> None:
        """Take the tree of the first peer that answers, then tell all of them."""
        adopted = False
        for name, control in peers.items():
            try:
                if not adopted:
                    self._adopt_from(control)
                    adopted = True
                ask(control, "meet", self.name, self.control)
            except OSError:
                self._set_online(name, False)
            else:
                self.meet(name, control)

    def _adopt_from(self, control: str) -> None:
        dump = [(path, decode(data)) for path, data in ask(control, "dump")]
        with self._gate:
            self.store.adopt(dump)

    def set_quorum(self, quorate: bool) -> None:
        """Lose or regain quorum; who regains it takes over what the others did, and renumbers."""
        if quorate and not self.quorate:
            for control in self._peers.values():
                try:
                    self._adopt_from(control)
                    break
                except OSError:
                    continue
            else:
                self.renumber()
        with self._gate:
            self.quorate = quorate
            self.cluster.setdefault(self.name, True)
            self.store.counters.clinfo += 1

    def renumber(self) -> None:
        """What a rejoined cluster does to all counters at once."""
        with self._gate:
            self.store.counters.restart_numbering(self.store.entries)

    # --- faults ---

    def hang(self, seconds: float | None) -> None:
        """Answer nothing for a time, or until `resume`."""
        self._release.clear()
        held = threading.Event()

        def hold() -> None:
            with self._gate:
                held.set()
                self._release.wait(seconds)

        threading.Thread(target=hold, daemon=True).start()
        held.wait()

    def resume(self) -> None:
        """End a hang."""
        self._release.set()

    def stop_accepting(self, seconds: float) -> None:
        """The end of a clean stop: accesses block for a while, then get ECONNABORTED."""
        with self._gate:
            self._release.clear()
            self._release.wait(seconds)
            self.stopping = True

    # --- what the driver asks for ---

    def commands(self) -> dict[str, Callable[..., Any]]:
        """The commands of the control socket."""
        return {
            "ping": lambda: self.name,
            "apply": lambda operation, *arguments: self.apply(operation, *map(decode, arguments)),
            "meet": self.meet,
            "dump": self._dump,
            "quorum": self.set_quorum,
            "renumber": self.renumber,
            "hang": self.hang,
            "resume": self.resume,
            "counters": self._counters,
        }

    def _dump(self) -> list[tuple[str, Any]]:
        with self._gate:
            return [(path, encode(data)) for path, data in self.store.dump()]

    def _counters(self) -> dict[str, Any]:
        with self._gate:
            counters = self.store.counters
            guests = {str(vmid): version for vmid, (_, version) in counters.guests.items()}
            numbers = {"starttime": counters.starttime, "clinfo": counters.clinfo, "vmlist": counters.vmlist}
            return {**numbers, "files": counters.files, "guests": guests}
