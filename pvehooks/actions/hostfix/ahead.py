"""The node as it will be: texts that are not written yet in place of files, and the kernel command line of the next boot."""

from __future__ import annotations

import errno
import math
from collections.abc import Iterable, Mapping

from pvehooks.facts import hardware
from pvehooks.facts.boot import cmdline
from pvehooks.facts.node import moduleoptions
from pvehooks.host import Host
from pvehooks.rules.host.commandline import loader_of, name_of, plans, wanted
from pvehooks.values import Node, Unread

_INITRAMFS = "/boot/initrd.img-"


class Ahead(Host):
    """A host of which some files are read as they will be written; None stands for one that will be gone."""

    def __init__(self, host: Host, texts: Mapping[str, bytes | None], new_initramfs: bool = False) -> None:
        super().__init__(host.root)
        self._texts = texts
        self._new_initramfs = new_initramfs

    def read(self, path: str, limit: int = 1 << 20) -> bytes:
        """The text to come, or the file."""
        if path not in self._texts:
            return super().read(path, limit)
        text = self._texts[path]
        if text is None:
            raise FileNotFoundError(errno.ENOENT, "it will be gone", path)
        return text[: limit + 1]

    def names(self, path: str) -> list[str]:
        """With the files to come, and without those to go."""
        here = {each.rpartition("/")[2]: text for each, text in self._texts.items() if each.rpartition("/")[0] == path}
        going = {name for name, text in here.items() if text is None}
        return sorted({*here, *super().names(path)} - going)

    def modified(self, path: str) -> float:
        """What is to come is newer than all files; the initramfs newer still, where it is to be made anew."""
        if self._new_initramfs and path.startswith(_INITRAMFS):
            return math.inf
        return self.now() if path in self._texts else super().modified(path)


def at_next_boot(host: Host, node: str, texts: Mapping[str, bytes | None], new_initramfs: bool) -> Node:
    """The facts after the commands were run and the node was restarted, as far as files tell them."""
    now = hardware.gather(Ahead(host, texts), node)
    line = _coming(now)
    later: Mapping[str, bytes | None] = (
        texts if line is None else {**texts, moduleoptions.COMMAND_LINE: line.encode("utf-8", "surrogateescape")}
    )
    return hardware.gather(Ahead(host, later, new_initramfs), node)


def _coming(node: Node) -> str | None:
    """The command line of the next boot, None where it cannot be told."""
    loader = loader_of(node)
    if loader is None or isinstance(node.command_lines, Unread) or isinstance(node.command_lines.running, Unread):
        return None
    planned = plans(node.command_lines, loader)[0]
    if planned is None or isinstance(planned.words, Unread):
        return None
    running = node.command_lines.running
    names = {name_of(word) for word in planned.words}
    own = [word for word in running if word not in wanted(running) and name_of(word) not in names]
    return _line((*own, *planned.words))


def _line(words: Iterable[str]) -> str:
    """Arguments on one line; those with white space in quotes."""
    return " ".join(f'"{word}"' if cmdline.words(word) != (word,) else word for word in words) + "\n"
