"""Writes options into a guest's config: through Proxmox VE's own code or qm on a node, directly into the file in a tree.

All take the guest's lock, compare the digest while holding it, and leave the rest of the config unchanged.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from pvehooks.actions import qm, writer_process
from pvehooks.actions.result import Outcome, Result
from pvehooks.facts.cluster import nodes as node_facts
from pvehooks.facts.guests import configs as guests
from pvehooks.formats import guestconfig
from pvehooks.host import Host
from pvehooks.settings.sections import RngSettings
from pvehooks.values import Guest
from pvehooks.values.base import NamedTuple, Protocol, sha1

# How long PVE itself waits for a guest's lock.
LOCK_TIMEOUT = 10.0
# What PVE changes on a running guest at once (qemu-server, QemuServer.pm, fast_plug_option), of the options that we write.
AT_ONCE = frozenset(("hookscript", "tags"))


class Writer(Protocol):
    """Changes options of a guest's config in one update, all or none.

    The config must still have the digest of `guest`. In `options` None deletes an option.
    """

    def precheck(self, guest: Guest) -> Result: ...
    def write(self, guest: Guest, options: Mapping[str, str | None]) -> Result: ...


def writer(host: Host, settings: RngSettings) -> Writer:
    """The writer of one change: FileWriter for a tree, and for a node what the settings say."""
    if not host.is_node or settings.writer == "file":
        return FileWriter(host)
    if settings.writer == "qm":
        return QmWriter(host)
    return PveWriter(host)


class PveWriter:
    """Writes through PVE's own code in one process for all guests; through qm where that cannot be loaded."""

    def __init__(self, host: Host) -> None:
        self._code = writer_process.of(host)
        self._qm = QmWriter(host)
        # What the first look said of the live part; '' where qm was asked.
        self._live = ""

    def precheck(self, guest: Guest) -> Result:
        """Whether PVE reads all of the live part, as for QmWriter."""
        try:
            answer = self._code.ask("config", guest.vmid)
        except writer_process.Unavailable:
            return self._qm.precheck(guest)
        except (writer_process.Away, writer_process.Lost) as trouble:
            return _no_answer(trouble)
        self._live = answer.live
        if answer.outcome != "done":
            return self._result(answer)
        return _readable(guest, answer.names, [words for words in answer.warnings if words.startswith(f"vm {guest.vmid} - ")])

    def write(self, guest: Guest, options: Mapping[str, str | None]) -> Result:
        """On a running guest most options go to [PENDING]; a value that is only pending is reverted there."""
        if not self._live:
            return self._qm.write(guest, options)
        update = _as_update(guest, options)
        if isinstance(update, Result):
            return update
        try:
            return self._result(self._code.ask("update", guest.vmid, digest=guest.digest, live=self._live, **update._asdict()))
        except writer_process.Unavailable as why:
            return Result(Outcome.BROKEN, str(why))
        except (writer_process.Away, writer_process.Lost) as trouble:
            return _no_answer(trouble)

    def _result(self, answer: writer_process.Answer) -> Result:
        words = qm.first_words(answer.words)
        outcome = _OUTCOMES.get(answer.outcome) or qm.situation(answer.words)
        if outcome is Outcome.WAITING:
            # It would wait for pmxcfs, and have that wait for it.
            self._code.end()
        if outcome is Outcome.LOSSY:
            words = f"{Outcome.LOSSY.value}: {words}"
        return Result(outcome or Outcome.BROKEN, words) if outcome else Result(Outcome.BROKEN, f"Proxmox VE's code failed: {words}")


_OUTCOMES = {
    "done": Outcome.DONE,
    "pending": Outcome.DONE,
    "busy": Outcome.LOCKED,
    "changed": Outcome.CHANGED,
    "lossy": Outcome.LOSSY,
}


def _no_answer(trouble: Exception) -> Result:
    return Result(Outcome.WAITING if isinstance(trouble, writer_process.Away) else Outcome.BROKEN, str(trouble))


class QmWriter(NamedTuple):
    """Writes through `qm set`, which handles pending changes, permissions and the cluster."""

    host: Host

    def precheck(self, guest: Guest) -> Result:
        """Whether PVE reads all of the live part (`qm config`): it would drop unreadable lines when rewriting."""
        read = qm.config(self.host, guest.vmid)
        if isinstance(read, Result):
            return read
        return _readable(guest, read.options, read.complaints)

    def write(self, guest: Guest, options: Mapping[str, str | None]) -> Result:
        """On a running guest most options go to [PENDING]; a value that is only pending is reverted there."""
        update = _as_update(guest, options)
        if isinstance(update, Result):
            return update
        if _is_lock_held(self.host, guest.vmid):
            return _lock_held(guest.vmid)
        words = [word for option, value in update.options.items() for word in (f"--{option}", value)]
        for flag, names in (("--delete", update.delete), ("--revert", update.revert)):
            words += [flag, ",".join(names)] if names else []
        return qm.change(self.host, guest.vmid, words, guest.digest)


def _lock_of(vmid: int) -> str:
    """PVE's lock of a guest (qemu-server, QemuConfig.pm, config_file_lock). Its mode is 0644: any user can hold it."""
    return f"/var/lock/qemu-server/lock-{vmid}.conf"


def _is_lock_held(host: Host, vmid: int) -> bool:
    """Whether qm would wait for the lock for ten seconds, and all guests that are due behind it."""
    try:
        with host.lock(_lock_of(vmid), 0.0):
            return False
    except BlockingIOError:
        return True
    except OSError:
        # What is wrong with it, qm says.
        return False


def _lock_held(vmid: int) -> Result:
    return Result(Outcome.LOCKED, f"another process holds the lock of VM {vmid}")


def _readable(guest: Guest, names: Collection[str], complaints: Sequence[str]) -> Result:
    """Whether PVE, which reads these options and complains of some lines, would keep all when rewriting the config."""
    if complaints:
        return Result(Outcome.LOSSY, f"{Outcome.LOSSY.value}: {complaints[0]}")
    live = set(guest.config.main if guest.config else ()) - {"description", "digest"}
    lost = sorted(live.difference(names))
    if live and len(lost) == len(live):
        return Result(Outcome.BROKEN, "Proxmox VE read nothing of the config")
    if lost:
        return Result(Outcome.LOSSY, f"{Outcome.LOSSY.value}: Proxmox VE does not read '{lost[0]}'")
    return Result(Outcome.DONE, "")


class _PveUpdate(NamedTuple):
    """An update as PVE wants it: what is set, what is deleted, and what is only pending and is taken back."""

    options: dict[str, str]
    delete: list[str]
    revert: list[str]


def _as_update(guest: Guest, options: Mapping[str, str | None]) -> _PveUpdate | Result:
    values = {option: value for option, value in options.items() if value is not None}
    if not all(map(str.isascii, values.values())):
        # It decodes them by the locale, and writes the result undecoded (pve-common, JSONSchema.pm, get_options).
        return Result(Outcome.REFUSED, "the value has characters beyond ASCII, which qm would replace by others")
    live = guest.config.main if guest.config else {}
    gone = [option for option, value in options.items() if value is None]
    return _PveUpdate(values, [option for option in gone if option in live], [option for option in gone if option not in live])


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
            with self.host.lock(_lock_of(guest.vmid), LOCK_TIMEOUT):
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
            return _lock_held(guest.vmid)
        except FileNotFoundError:
            return Result(Outcome.GONE, f"the config of VM {guest.vmid} is gone")
        except PermissionError as error:
            return Result(Outcome.WAITING, f"{error.filename or path}: {error.strerror}")
        except OSError as error:
            return Result(Outcome.BROKEN, f"{error.filename or path}: {error.strerror}")
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
