"""Writes options into a guest's config: through qm on a node, directly into the file in a tree.

Both take the guest's lock, compare the digest while holding it, and leave the rest of the config unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from pvehooks.actions import qm
from pvehooks.actions.result import Outcome, Result
from pvehooks.facts.cluster import nodes as node_facts
from pvehooks.facts.guests import configs as guests
from pvehooks.formats import guestconfig
from pvehooks.host import Host
from pvehooks.settings.sections import RngSettings
from pvehooks.values import Guest
from pvehooks.values.base import sha1

# How long PVE itself waits for a guest's lock.
LOCK_TIMEOUT = 10.0
# What PVE changes on a running guest at once (qemu-server, QemuServer.pm, fast_plug_option), of the options that we write.
AT_ONCE = frozenset(("hookscript",))


class Writer(Protocol):
    """Changes options of a guest's config in one update, all or none.

    The config must still have the digest of `guest`. In `options` None deletes an option.
    """

    def precheck(self, guest: Guest) -> Result: ...
    def write(self, guest: Guest, options: Mapping[str, str | None]) -> Result: ...


def writer(host: Host, settings: RngSettings) -> Writer:
    """The writer for this host: FileWriter for a tree, QmWriter for a node unless the settings say otherwise."""
    if not host.is_node or settings.writer == "file":
        return FileWriter(host)
    return QmWriter(host)


class QmWriter(NamedTuple):
    """Writes through `qm set`, which handles pending changes, permissions and the cluster."""

    host: Host

    def precheck(self, guest: Guest) -> Result:
        """Whether PVE reads all of the live part (`qm config`): it would drop unreadable lines when rewriting."""
        read = qm.config(self.host, guest.vmid)
        if isinstance(read, Result):
            return read
        if read.complaints:
            return Result(Outcome.LOSSY, f"{Outcome.LOSSY.value}: {read.complaints[0]}")
        live = set(guest.config.main if guest.config else ()) - {"description", "digest"}
        lost = sorted(live - set(read.options))
        if live and len(lost) == len(live):
            return Result(Outcome.BROKEN, "qm config did not print the config")
        if lost:
            return Result(Outcome.LOSSY, f"{Outcome.LOSSY.value}: qm config does not show '{lost[0]}'")
        return Result(Outcome.DONE, "")

    def write(self, guest: Guest, options: Mapping[str, str | None]) -> Result:
        """On a running guest most options go to [PENDING]; a value that is only pending is reverted there."""
        words = [word for option, value in options.items() if value is not None for word in (f"--{option}", value)]
        if not all(map(str.isascii, words)):
            # It decodes them by the locale, and writes the result undecoded (pve-common, JSONSchema.pm, get_options).
            return Result(Outcome.REFUSED, "the value has characters beyond ASCII, which qm would replace by others")
        live = guest.config.main if guest.config else {}
        for flag, of_live in (("--delete", True), ("--revert", False)):
            deleted = [option for option, value in options.items() if value is None and (option in live) is of_live]
            words += [flag, ",".join(deleted)] if deleted else []
        return qm.change(self.host, guest.vmid, words, guest.digest)


class FileWriter(NamedTuple):
    """Writes the file directly and keeps every other byte; a running guest gets its change under [PENDING]."""

    host: Host

    def precheck(self, guest: Guest) -> Result:
        """Always DONE: this writer drops no line."""
        return Result(Outcome.DONE, "")

    def write(self, guest: Guest, options: Mapping[str, str | None]) -> Result:
        """Replaces the lines that set each option, live, pending or to be deleted, by one line."""
        path = node_facts.config_path(guest.node, guest.vmid)
        try:
            with self.host.lock(f"/var/lock/qemu-server/lock-{guest.vmid}.conf", LOCK_TIMEOUT):
                raw = guests.read_raw(self.host, guest.node, guest.vmid)
                if sha1(raw).hex() != guest.digest:
                    return Result(Outcome.CHANGED, "the config was changed meanwhile")
                lock = guestconfig.parse(raw).main.get("lock")
                if lock:
                    return Result(Outcome.LOCKED, f"VM is locked ({lock})")
                self.host.replace(path, _edited(raw, guest, options))
        except guestconfig.EditError as error:
            return Result(Outcome.REFUSED, str(error))
        except BlockingIOError:
            return Result(Outcome.LOCKED, f"another process holds the lock of VM {guest.vmid}")
        except FileNotFoundError:
            return Result(Outcome.GONE, f"the config of VM {guest.vmid} is gone")
        except PermissionError as error:
            return Result(Outcome.WAITING, f"{path}: {error.strerror}")
        except OSError as error:
            return Result(Outcome.BROKEN, f"{path}: {error.strerror}")
        return Result(Outcome.DONE, "")


def _edited(raw: bytes, guest: Guest, options: Mapping[str, str | None]) -> bytes:
    config = guestconfig.parse(raw)
    if config.pending_delete and config.pending_delete.keys() <= options.keys():
        raw = guestconfig.remove_line(raw, "delete", "PENDING")
    for option, value in options.items():
        later = guest.running and option not in AT_ONCE
        if option in config.pending:
            raw = guestconfig.remove_line(raw, option, "PENDING")
        if option in config.main and value is None and later:
            raise guestconfig.EditError(f"the running VM uses {option}; stop it first")
        if option in config.main and not later:
            raw = guestconfig.remove_line(raw, option)
        if value is not None:
            raw = guestconfig.insert_line(raw, option, value, "PENDING" if later else "")
    return raw
