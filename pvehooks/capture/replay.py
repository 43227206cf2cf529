"""A capture that was unpacked, as a host: a tree, and beside it what no tree can hold (owners, errors, the time, answers of commands)."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from pvehooks.capture.record import Ran, Recording
from pvehooks.errors import NodeError, Refused
from pvehooks.host import CommandTrouble, Completed, Host, Lock

FACTS = "/capture.json"
VERSION = 1
_LIMIT = 16 << 20


class CaptureMetadata:
    """What a tree cannot hold; paths are real ones."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.node = str(document["node"])
        self.time = float(document["time"])
        self.errors: dict[str, int] = dict(document["errors"])
        self.attributes: dict[str, list[int]] = dict(document["attributes"])
        self.modified: dict[str, float] = dict(document["modified"])
        self.sizes: dict[str, int] = dict(document["sizes"])
        self.links: dict[str, str] = dict(document.get("links", {}))
        # An earlier version did not note them.
        self.acls = frozenset(map(str, document.get("acls", ())))
        self.commands = {tuple(each["argv"]): _ran(each) for each in document["commands"]}


def _ran(document: Mapping[str, Any]) -> Ran:
    done = document["done"]
    return Ran(
        tuple(document["argv"]), None if done is None else Completed(int(done[0]), str(done[1]), str(done[2])), str(document["trouble"])
    )


def document(recording: Recording, node: str) -> dict[str, Any]:
    """The facts of a recording, for JSON."""
    return {
        "version": VERSION,
        "node": node,
        "time": recording.time,
        "errors": dict(sorted(recording.errors.items())),
        "attributes": {path: list(values) for path, values in sorted(recording.attributes.items())},
        "modified": dict(sorted(recording.modified.items())),
        "sizes": dict(sorted(recording.sizes.items())),
        "acls": sorted(recording.acls),
        "commands": [
            {"argv": list(ran.argv), "done": list(ran.done) if ran.done else None, "trouble": ran.trouble}
            for ran in recording.commands.values()
        ],
    }


class CapturedHost(Host):
    """The node that a capture was made of. Where it is `sealed`, in a directory that goes again, nothing can be written."""

    def __init__(self, root: str, facts: CaptureMetadata, sealed: str = "") -> None:
        super().__init__(root)
        self.facts = facts
        self._sealed = sealed
        self.can_run = bool(facts.commands)

    def _real(self, path: str, follow: bool = True) -> str:
        return self.locate(path, follow)[len(self.root) :] or "/"

    def _check(self, access: str, path: str) -> None:
        if self.facts.errors:
            number = self.facts.errors.get(f"{access} {self._real(path)}")
            if number is not None:
                raise OSError(number, os.strerror(number), path)

    def read(self, path: str, limit: int = 1 << 20) -> bytes:
        self._check("read", path)
        return super().read(path, limit)

    def read_end(self, path: str, limit: int) -> tuple[int, bytes]:
        self._check("read", path)
        return super().read_end(path, limit)

    def read_made(self, path: str, limit: int = 1 << 20) -> bytes:
        self._check("read", path)
        return super().read_made(path, limit)

    def names(self, path: str) -> list[str]:
        self._check("list", path)
        return super().names(path)

    def folders(self, path: str) -> list[str]:
        self._check("list", path)
        return super().folders(path)

    def owner_and_mode(self, path: str) -> tuple[int, int]:
        there = super().owner_and_mode(path)
        known = self.facts.attributes.get(self._real(path))
        return (known[1], known[0]) if known else there

    def attributes(self, path: str) -> tuple[int, int, int, int]:
        there = super().attributes(path)
        known = self.facts.attributes.get(self._real(path, follow=False))
        return (known[0], known[1], known[2], known[3]) if known else there

    def has_acl(self, path: str) -> bool:
        return self._real(path) in self.facts.acls

    def modified(self, path: str) -> float:
        there = super().modified(path)
        return self.facts.modified.get(self._real(path), there)

    def size(self, path: str) -> int:
        there = super().size(path)
        return self.facts.sizes.get(self._real(path), there)

    def link_text(self, path: str) -> str:
        there = super().link_text(path)
        return self.facts.links.get(self._real(path, follow=False), there)

    def link_texts(self, path: str, most: int = 0) -> dict[str, str]:
        self._check("list", path)
        real = self._real(path)
        return {name: self.facts.links.get(f"{real}/{name}", text) for name, text in super().link_texts(path, most).items()}

    def run(self, argv: Sequence[str], timeout: float, env: Mapping[str, str] | None = None, given: bytes | None = None) -> Completed:
        ran = self.facts.commands.get(tuple(argv))
        if ran is None:
            return super().run(argv, timeout, env, given)
        if ran.done is None:
            raise CommandTrouble(ran.trouble)
        return ran.done

    def now(self) -> float:
        return self.facts.time

    # -- writing: in a directory that was unpacked by hand as in any tree ---------------------------------------------

    def _refuse(self) -> None:
        if self._sealed:
            raise Refused(
                f"{self._sealed} is a capture: nothing is changed in it", hint="Unpack it (tar -xf), and give --root the directory."
            )

    def make_dir(self, path: str, mode: int = 0o755, durable: bool = False) -> None:
        self._refuse()
        super().make_dir(path, mode, durable)

    def replace(
        self,
        path: str,
        content: bytes,
        mode: int = 0o640,
        durable: bool = False,
        keep_mode: bool = True,
        owner: tuple[int, int] | None = None,
    ) -> None:
        self._refuse()
        super().replace(path, content, mode, durable, keep_mode, owner)

    def append(self, path: str, content: bytes, mode: int = 0o644) -> None:
        self._refuse()
        super().append(path, content, mode)

    def write_attribute(self, path: str, text: str) -> None:
        self._refuse()
        super().write_attribute(path, text)

    def remove(self, path: str, durable: bool = False) -> None:
        self._refuse()
        super().remove(path, durable)

    def lock(self, path: str, timeout: float) -> Lock:
        self._refuse()
        return super().lock(path, timeout)


def raise_unreadable(path: str, why: str) -> NoReturn:
    """Raises the error of a capture that cannot be used."""
    raise NodeError(f"{path} is no capture that this pvehooks can read: {why}", hint="Make one: pvehooks capture FILE.tar.xz")


def host_at(root: str, sealed: str = "") -> Host:
    """The host of a directory: of an unpacked capture if it is one, else of the tree that it is."""
    plain = Host(root)
    try:
        raw = plain.read(FACTS, _LIMIT)
    except OSError:
        return plain
    try:
        content = json.loads(raw)
        if content["version"] != VERSION:
            raise_unreadable(sealed or root, f"it is of version {content['version']}")
        facts = CaptureMetadata(content)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError, RecursionError) as error:
        raise_unreadable(sealed or root, f"{FACTS[1:]} is damaged ({type(error).__name__})")
    return CapturedHost(root, facts, sealed)
