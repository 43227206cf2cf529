"""The node as it will be: files with texts that are not written yet, and the kernel command line of the next boot."""

from __future__ import annotations

import errno
import math
from collections.abc import Iterable, Mapping

from pvehooks.derived.kernel_args import loader_of, name_of, plans, wanted
from pvehooks.facts import hardware
from pvehooks.facts.boot import cmdline
from pvehooks.facts.node import moduleoptions
from pvehooks.host import Host
from pvehooks.values import Node, Unread

_INITRAMFS = "/boot/initrd.img-"


class Preview(Host):
    """A host on which some files already read as they will be written; None is a file that will be removed."""

    def __init__(self, host: Host, texts: Mapping[str, bytes | None], new_initramfs: bool = False) -> None:
        super().__init__(host.root)
        self._texts = texts
        self._new_initramfs = new_initramfs

    def read(self, path: str, limit: int = 1 << 20) -> bytes:
        """The new text, or the file."""
        if path not in self._texts:
            return super().read(path, limit)
        text = self._texts[path]
        if text is None:
            raise FileNotFoundError(errno.ENOENT, "it will be gone", path)
        return text[: limit + 1]

    def names(self, path: str) -> list[str]:
        """With the new files, and without those that will be removed."""
        here = {each.rpartition("/")[2]: text for each, text in self._texts.items() if each.rpartition("/")[0] == path}
        going = {name for name, text in here.items() if text is None}
        return sorted({*here, *super().names(path)} - going)

    def modified(self, path: str) -> float:
        """A changed file is newer than all others; an initramfs that will be updated is newer still."""
        if self._new_initramfs and path.startswith(_INITRAMFS):
            return math.inf
        return self.now() if path in self._texts else super().modified(path)


def at_next_boot(host: Host, node: str, texts: Mapping[str, bytes | None], new_initramfs: bool) -> Node:
    """The facts after the commands and a restart, as far as files determine them."""
    now = hardware.gather(Preview(host, texts), node)
    line = _next_command_line(now)
    later: Mapping[str, bytes | None] = (
        texts if line is None else {**texts, moduleoptions.COMMAND_LINE: line.encode("utf-8", "surrogateescape")}
    )
    return hardware.gather(Preview(host, later, new_initramfs), node)


def _next_command_line(node: Node) -> str | None:
    """The command line of the next boot, None if it is unknown."""
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
    """The arguments as one line, those with white space in quotes."""
    return " ".join(f'"{word}"' if cmdline.words(word) != (word,) else word for word in words) + "\n"
