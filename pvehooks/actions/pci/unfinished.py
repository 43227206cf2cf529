"""What a bind had begun that was killed: noted before the first write to sysfs, finished by the next process that looks.

A driver_override that stayed would keep the device with vfio-pci for good, and count as the admin's.
"""

from __future__ import annotations

import json

from pvehooks.host import LOCKS
from pvehooks.values import NamedTuple
from pvehooks.values.pci import is_pci_address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from pvehooks.host import Host, Lock

DIRECTORY = "/run/pvehooks/binding"
# How many seconds another process is waited for that changes the same device: it may only look whether something is to be finished.
PATIENCE = 3.0
_LIMIT = 1 << 12


class BegunBind(NamedTuple):
    """A bind that was begun: the device's address, its driver and its driver_override before ('' for none)."""

    address: str
    former: str
    override: str


# While devices are looked for, drivers take none: the note that this was begun, and the attribute that says so.
AUTOPROBE_NOTE = f"{DIRECTORY}/autoprobe"
AUTOPROBE = "/sys/bus/pci/drivers_autoprobe"
# While virtual functions are made, drivers take none of them: a note for each physical function, with the numbers of those for vfio-pci.
_VFS = ".vfs"


def lock(host: Host, address: str, seconds: float = 0.0) -> Lock:
    """Held while the device is being changed; it goes with the process that holds it. Raises BlockingIOError.

    What was read of the device before may not be so any more: it is compared once the lock is held.
    """
    return host.lock(f"{LOCKS}/bind-{address}.lock", seconds)


def note(host: Host, begun: BegunBind) -> None:
    """Notes what is about to be done; raises OSError."""
    host.make_dir(DIRECTORY, mode=0o700)
    host.replace(f"{DIRECTORY}/{begun.address}", json.dumps(begun._asdict()).encode(), mode=0o600)


def forget(host: Host, address: str) -> None:
    """Removes the note of what is done, or undone."""
    try:
        host.remove(f"{DIRECTORY}/{address}")
    except OSError:
        return


def notes(host: Host) -> list[str]:
    """The names of all notes."""
    try:
        return host.names(DIRECTORY)
    except OSError:
        return []


def finish(host: Host, names: Iterable[str], restore: Callable[[BegunBind], None]) -> None:
    """Has `restore` undo each bind of these notes that was begun by a process that is gone."""
    for address in filter(is_pci_address, names):
        try:
            with lock(host, address):
                begun = _read(host, address)
                if begun is not None:
                    restore(begun)
                forget(host, address)
        except OSError:
            # Another process binds it at this moment.
            continue


def _read(host: Host, address: str) -> BegunBind | None:
    try:
        content = json.loads(host.read(f"{DIRECTORY}/{address}", limit=_LIMIT))
        begun = BegunBind(address, content["former"], content["override"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return begun if isinstance(begun.former, str) and isinstance(begun.override, str) else None


# -- virtual functions ----------------------------------------------------------------------------------------------------


def note_vfs(host: Host, address: str, for_vfio: Collection[int]) -> None:
    """Notes that the virtual functions of this device are made without drivers; raises OSError."""
    host.make_dir(DIRECTORY, mode=0o700)
    host.replace(f"{DIRECTORY}/{address}{_VFS}", json.dumps(sorted(for_vfio)).encode(), mode=0o600)


def noted_vfs(names: Iterable[str]) -> list[str]:
    """The devices with such a note among these."""
    return [name.removesuffix(_VFS) for name in names if name.endswith(_VFS) and is_pci_address(name.removesuffix(_VFS))]


def vfs_for_vfio(host: Host, address: str) -> Collection[int] | None:
    """Those that are to go to vfio-pci, by number; None without a note."""
    try:
        numbers = json.loads(host.read(f"{DIRECTORY}/{address}{_VFS}", limit=_LIMIT))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError):
        return ()
    return frozenset(number for number in numbers if isinstance(number, int)) if isinstance(numbers, list) else ()


def forget_vfs(host: Host, address: str) -> None:
    """Removes the note."""
    forget(host, f"{address}{_VFS}")
