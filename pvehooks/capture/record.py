"""A node that is looked at while everything that is asked of it is noted: what was read, listed, resolved, found or missing, and run."""

from __future__ import annotations

import errno
import stat
from collections.abc import Mapping, Sequence
from typing import NamedTuple, NoReturn

from pvehooks.facts.boot import kernelmodules
from pvehooks.formats.initramfs import Contents, DamagedInitramfs, as_text, damaged_as_text
from pvehooks.host import CommandTrouble, Completed, Host, Lock, unpacking

# What one file of a capture may have; all of a node's have about 10 MiB.
LARGEST = 8 << 20
_MAX_LINKS = 40
_INITRAMFS = "/boot/initrd.img-"
_NOT_THERE = (errno.ENOENT, errno.ENOTDIR)


def joined(directory: str, name: str) -> str:
    """The path of a name in a directory."""
    return f"{directory.rstrip('/')}/{name}"


class Thing(NamedTuple):
    """What is at a path: a "dir", a "link" with its `text`, or a "file" (all else), whose `content` is None until it is read."""

    kind: str
    content: bytes | None = None
    text: str = ""


class Ran(NamedTuple):
    """A command and its answer, or the trouble there was instead."""

    argv: tuple[str, ...]
    done: Completed | None
    trouble: str = ""


class Recording:
    """What a node answered, the last answer to each question; all paths are real ones, with no link on the way.

    `errors` are error numbers by "read PATH" or "list PATH"; `attributes` are mode, uid, gid and links; `modified` seconds since the
    epoch; `numbers` the kind, major and minor of device nodes; `acls` are the paths with an access control list.
    """

    def __init__(self, time: float) -> None:
        self.time = time
        self.things: dict[str, Thing] = {"/": Thing("dir")}
        self.errors: dict[str, int] = {}
        self.attributes: dict[str, tuple[int, int, int, int]] = {}
        self.modified: dict[str, float] = {}
        self.sizes: dict[str, int] = {}
        self.numbers: dict[str, tuple[str, int, int]] = {}
        self.acls: set[str] = set()
        self.commands: dict[tuple[str, ...], Ran] = {}
        self._names: dict[str, set[str]] = {}

    def add(self, path: str, thing: Thing) -> None:
        """Notes what is at a path; a content that is known stays."""
        known = self.things.get(path)
        if known is None or known.kind != thing.kind or thing.content is not None or known.text != thing.text:
            self.things[path] = thing
            directory, _, name = path.rpartition("/")
            self._names.setdefault(directory or "/", set()).add(name)

    def names(self, directory: str) -> frozenset[str]:
        """What is known to be in a directory."""
        return frozenset(self._names.get(directory, ()))

    def forget(self, path: str) -> None:
        """Nothing is there any more."""
        if self.things.pop(path, None) is None:
            return
        directory, _, name = path.rpartition("/")
        self._names[directory or "/"].discard(name)
        for each in tuple(self._names.get(path, ())):
            self.forget(joined(path, each))


class RecordingHost(Host):
    """A host, the node or a tree, with a recording of what it answers. Nothing can be written through it."""

    def __init__(self, root: str = "/") -> None:
        super().__init__(root)
        self.recording = Recording(super().now())
        # What lstat(2) said of directories on the way: they do not turn into links while we look.
        self._directories: set[str] = {"/"}

    # -- walking ------------------------------------------------------------------------------------------------------

    def _walk(self, path: str, follow: bool = True) -> str:
        """Notes every directory and link on the way, and what is at its end; the real path, also of what is not there."""
        done = ""
        todo = [part for part in reversed(path.split("/")) if part not in ("", ".")]
        links = 0
        while todo:
            part = todo.pop()
            if part == "..":
                done = done.rpartition("/")[0]
                continue
            here = f"{done}/{part}"
            thing = self._look(here)
            if thing is None:
                return here + "".join(f"/{each}" for each in reversed(todo))
            if thing.kind == "link" and (todo or follow):
                links += 1
                if links > _MAX_LINKS:
                    break
                done = "" if thing.text.startswith("/") else done
                todo.extend(each for each in reversed(thing.text.split("/")) if each not in ("", "."))
            else:
                done = here
        return done or "/"

    def _look(self, path: str) -> Thing | None:
        """What is at a path, itself a link or not; noted."""
        known = self.recording.things.get(path)
        if known is not None and path in self._directories:
            return known
        try:
            mode = super().attributes(path)[0]
            kind = "dir" if stat.S_ISDIR(mode) else "link" if stat.S_ISLNK(mode) else "file"
            thing = Thing(kind, None, super().link_text(path) if kind == "link" else "")
        except OSError as error:
            if error.errno in _NOT_THERE:
                self.recording.forget(path)
            return None
        self.recording.add(path, thing)
        if kind == "dir" and not path.startswith("/proc/"):
            self._directories.add(path)
        return self.recording.things[path]

    def _failed(self, access: str, path: str, error: OSError) -> None:
        """Notes an error that a tree cannot reproduce; `access` is 'read' or 'list'."""
        if error.errno not in (*_NOT_THERE, errno.EISDIR, errno.ELOOP) and error.errno is not None:
            self.recording.errors[f"{access} {path}"] = error.errno

    # -- reading ------------------------------------------------------------------------------------------------------

    def read(self, path: str, limit: int = 1 << 20) -> bytes:
        real = self._walk(path)
        try:
            content = super().read(path, limit)
        except OSError as error:
            self._failed("read", real, error)
            raise
        if real.startswith(_INITRAMFS) and content:
            self.recording.add(real, Thing("file", self._initramfs(path)))
        elif content and unpacking.is_packed_module(real):
            self.recording.add(real, Thing("file", self._end_of_module(path)))
        else:
            self._note_content(real, content, len(content) > limit)
        return content

    def _initramfs(self, path: str) -> bytes:
        """What a capture has of an initramfs: the names of its modules and its settings, as text that a tree can be read from."""
        try:
            contents = unpacking.contents(Host(self.root), path, kernelmodules.is_setting)
        except DamagedInitramfs as damaged:
            return damaged_as_text(str(damaged))
        except (OSError, CommandTrouble):
            # Read again it would be an empty one.
            self.recording.errors[f"read {self._walk(path)}"] = errno.EIO
            return b""
        names = frozenset(name for name in contents.names if ".ko" in name or name in contents.texts)
        texts = {name: b"\n".join(line for line in text.split(b"\n") if line[:1] not in b"#;") for name, text in contents.texts.items()}
        return as_text(Contents(names, texts))

    def _end_of_module(self, path: str) -> bytes:
        """What a capture has of a packed module: its end, unpacked."""
        try:
            return unpacking.end_of_module(Host(self.root), path)
        except (OSError, CommandTrouble, DamagedInitramfs):
            return b""

    def read_end(self, path: str, limit: int) -> tuple[int, bytes]:
        real = self._walk(path)
        try:
            begin, content = super().read_end(path, limit)
        except OSError as error:
            self._failed("read", real, error)
            raise
        self._note_content(real, content, begin > 0)
        return begin, content

    def read_made(self, path: str, limit: int = 1 << 20) -> bytes:
        real = self._walk(path)
        try:
            content = super().read_made(path, limit)
        except OSError as error:
            self._failed("read", real, error)
            raise
        self._note_content(real, content, len(content) > limit)
        return content

    def _note_content(self, real: str, content: bytes, cut: bool) -> None:
        self.recording.errors.pop(f"read {real}", None)
        known = self.recording.things.get(real)
        if cut and known and known.content and known.content.startswith(content):
            return
        self.recording.add(real, Thing("file", content))

    def names(self, path: str) -> list[str]:
        real = self._walk(path)
        try:
            found = super().names(path)
        except OSError as error:
            self._failed("list", real, error)
            raise
        self._note_names(real, found)
        return found

    def _note_names(self, real: str, names: Sequence[str]) -> None:
        self.recording.errors.pop(f"list {real}", None)
        for name in self.recording.names(real).difference(names):
            self.recording.forget(joined(real, name))
        for name in names:
            self._look(joined(real, name))

    def exists(self, path: str) -> bool:
        self._walk(path)
        return super().exists(path)

    def is_dir(self, path: str) -> bool:
        self._walk(path)
        return super().is_dir(path)

    def owner_and_mode(self, path: str) -> tuple[int, int]:
        real = self._walk(path)
        owner, mode = super().owner_and_mode(path)
        self.recording.attributes[real] = (mode, owner, *self.recording.attributes.get(real, (0, 0, 0, 1))[2:])
        return owner, mode

    def attributes(self, path: str) -> tuple[int, int, int, int]:
        real = self._walk(path, follow=False)
        found = super().attributes(path)
        self.recording.attributes[real] = found
        return found

    def has_acl(self, path: str) -> bool:
        real = self._walk(path)
        found = super().has_acl(path)
        if found:
            self.recording.acls.add(real)
        else:
            self.recording.acls.discard(real)
        return found

    def modified(self, path: str) -> float:
        real = self._walk(path)
        found = self.recording.modified[real] = super().modified(path)
        return found

    def size(self, path: str) -> int:
        real = self._walk(path)
        found = self.recording.sizes[real] = super().size(path)
        return found

    def real(self, path: str) -> str:
        self._walk(path)
        return super().real(path)

    def link_name(self, path: str) -> str:
        self._walk(path, follow=False)
        return super().link_name(path)

    def link_text(self, path: str) -> str:
        self._walk(path, follow=False)
        return super().link_text(path)

    def link_texts(self, path: str, most: int = 0) -> dict[str, str]:
        real = self._walk(path)
        try:
            texts = super().link_texts(path, most)
        except OSError as error:
            self._failed("list", real, error)
            raise
        self.recording.errors.pop(f"list {real}", None)
        for name, text in texts.items():
            self.recording.add(joined(real, name), Thing("link", None, text))
        return texts

    def folders(self, path: str) -> list[str]:
        real = self._walk(path)
        try:
            found = super().folders(path)
        except OSError as error:
            self._failed("list", real, error)
            raise
        for name in found:
            self._look(joined(real, name))
        return found

    def device_number(self, path: str, only_block: bool = False) -> tuple[int, int] | None:
        found = super().device_number(path, only_block)
        if found is not None:
            # The kernel follows a link of /proc/PID/fd to what is open, whatever its text says.
            real = self._walk(path, follow="/fd/" not in path)
            is_block = only_block or super().device_number(path, only_block=True) is not None
            self.recording.numbers[real] = ("block" if is_block else "char", *found)
        return found

    # -- running and time ---------------------------------------------------------------------------------------------

    def run(self, argv: Sequence[str], timeout: float, env: Mapping[str, str] | None = None, given: bytes | None = None) -> Completed:
        words = tuple(argv)
        try:
            done = super().run(words, timeout, env, given)
        except CommandTrouble as trouble:
            if self.is_node:
                self.recording.commands[words] = Ran(words, None, str(trouble))
            raise
        self.recording.commands[words] = Ran(words, done)
        return done

    # -- writing ------------------------------------------------------------------------------------------------------

    def _refused(self, *_: object, **__: object) -> NoReturn:
        raise OSError(errno.EROFS, "a look writes nothing")

    def lock(self, path: str, timeout: float) -> Lock:
        self._refused()

    make_dir = replace = append = write_attribute = remove = remove_dir = spawn = _refused
