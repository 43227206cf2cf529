"""What readers make of files that cannot be read: nothing, or an Unread with the reason."""

from __future__ import annotations

from pvehooks.host import Host
from pvehooks.values.base import Unread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    _Answer = TypeVar("_Answer")


def unread(path: str, error: OSError) -> Unread:
    """The fact that an error kept from being read."""
    return Unread(f"{path}: {error.strerror}")


def content_of(host: Host, path: str, limit: int = 1 << 20) -> bytes | Unread:
    """The bytes of a file, one more than `limit` where it is longer."""
    try:
        return host.read(path, limit)
    except OSError as error:
        return unread(path, error)


def optional_of(host: Host, path: str) -> bytes | Unread:
    """The bytes of a file that need not be there, none where it is not."""
    try:
        return host.read(path)
    except FileNotFoundError:
        return b""
    except OSError as error:
        return unread(path, error)


def listing_of(host: Host, path: str) -> list[str] | Unread:
    """The sorted names in a directory."""
    try:
        return host.names(path)
    except OSError as error:
        return unread(path, error)


def text_of(host: Host, path: str) -> str:
    """A file's text without trailing white space, '' where it cannot be read."""
    try:
        return host.read_text(path)
    except OSError:
        return ""


def number_in(text: str) -> int | None:
    """The number that an ASCII text of at most 18 digits is; Python refuses to convert thousands of them (ValueError)."""
    return int(text) if len(text) <= 18 and text.isascii() and text.isdecimal() else None


def device_numbers(text: str) -> tuple[int, int] | None:
    """Major and minor of a text like "8:1", None for all others."""
    major, _, minor = text.partition(":")
    first, second = number_in(major), number_in(minor)
    return None if first is None or second is None else (first, second)


def names_in(host: Host, path: str) -> list[str]:
    """The sorted names in a directory, none where it cannot be listed."""
    try:
        return host.names(path)
    except OSError:
        return []


def folders_in(host: Host, path: str) -> list[str]:
    """The sorted names of a directory's own directories, none where it cannot be listed."""
    try:
        return host.folders(path)
    except OSError:
        return []


def within(seconds: float, look: Callable[[], _Answer]) -> _Answer | TimeoutError:
    """What the look answers. It is made in a thread of its own, which is left behind where it takes longer: the kernel ends it with the process."""
    from threading import Thread

    answers: list[_Answer] = []
    thread = Thread(target=lambda: answers.append(look()), daemon=True)
    thread.start()
    thread.join(seconds)
    return answers[0] if answers else TimeoutError()
