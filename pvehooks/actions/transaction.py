"""The one safe way to change a guest's config: held? -> backup -> digest -> write -> read back -> record.

A caller describes a Change; `apply` makes it or returns why not. Values are compared as effective options, before and after: what the next
start uses. A pending value of an option counts as its value, even if the live one differs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType

from pvehooks.actions import backups
from pvehooks.actions.result import MAY_HAVE_WRITTEN, Outcome, Result
from pvehooks.actions.writer import Writer
from pvehooks.derived.config_lines import quoted
from pvehooks.errors import ActionFailed, NodeError, PmxcfsAway
from pvehooks.facts.cluster import nodes as node_facts
from pvehooks.facts.guests import configs as guests
from pvehooks.facts.guests import running
from pvehooks.host import Host
from pvehooks.records import guests as records
from pvehooks.values import AdminsRng, Attachment, GivenTag, Guest, GuestConfig, Options, Value
from pvehooks.values.base import NamedTuple, sha1
from pvehooks.values.images import PinnedFirmware

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

Values = Mapping[str, str | None]
"""Options and their values; None if an option is not set."""

Part = records.RngRecord | AdminsRng | Attachment | GivenTag | PinnedFirmware
RecordFields = Mapping[str, Part | None]
"""RecordFields of a guest's record by their names in records.Record; None if the record lacks a part."""
NO_RECORD_FIELDS: RecordFields = MappingProxyType({})


def _nothing() -> None:
    """Default of Change.make_files: nothing needs to be made."""


class Change(NamedTuple):
    """Options that one update of a config sets or deletes, with the parts of the record that belong to it."""

    options: Values
    # Recorded before the write, and reverted if nothing was written.
    before: RecordFields = NO_RECORD_FIELDS
    # Recorded once the config shows the effect.
    after: RecordFields = NO_RECORD_FIELDS
    # What the options are after the write where PVE stores something else than is written. Options that are missing here are not read
    # back: PVE's success is then the only confirmation.
    effect: Values | None = None
    # Makes the files that the options name, once nothing holds the change; raises NodeError.
    make_files: Callable[[], object] = _nothing
    # The command that reverts the change.
    undo: str = ""
    # The copy of the config goes once the change is verified: those of changes that come and go would push out those that matter.
    is_slight: bool = False

    @property
    def expected(self) -> Values:
        """The effective options after the change."""
        return self.options if self.effect is None else self.effect

    def missing(self, shown: Options) -> list[str]:
        """The options that do not have their expected value; those that cannot be read back are left out."""
        return [option for option, value in self.expected.items() if _text(shown.get(option)) != value]


def merged(changes: Collection[Change]) -> Change:
    """Several changes as one, for one update."""
    options: dict[str, str | None] = {}
    effect: dict[str, str | None] = {}
    before: dict[str, Part | None] = {}
    after: dict[str, Part | None] = {}
    for change in changes:
        options.update(change.options)
        effect.update(change.expected)
        before.update(change.before)
        after.update(change.after)
    undo = "; ".join(change.undo for change in changes if change.undo)
    is_slight = all(change.is_slight for change in changes)
    return Change(options, before, after, effect, lambda: [change.make_files() for change in changes], undo, is_slight)


def write_refusal(guest: Guest, options: Collection[str]) -> Result | None:
    """Why no change of these options may be written, by the daemon or on request; None if it may.

    On a stopped guest PVE applies all that is pending with any other change (qemu-server, the API's update_vm): what is pending of other
    options is for the administrator to decide.
    """
    config = guest.config
    if config is None:
        return Result(Outcome.DECLINED, guest.problems[0][1])
    lock = config.main.get("lock")
    if lock:
        return Result(Outcome.LOCKED, f"VM is locked ({lock})")
    if config.dropped:
        line = config.dropped[0]
        return Result(Outcome.LOSSY, f"PVE would drop line {line.line} of its config, {quoted(line.text)} ({line.reason}); fix it first")
    others = sorted({*config.pending, *config.pending_delete}.difference(options))
    if others and not guest.running:
        return Result(
            Outcome.DECLINED, f"it is stopped and other changes are pending ({', '.join(others)}), which would be applied as well"
        )
    return None


def apply(host: Host, guest: Guest, writer: Writer, *changes: Change | Result) -> Result:
    """Makes the changes in one update, or returns why nothing is written; a Result among `changes` is returned as that.

    `guest` is as it was judged. After Outcome.BROKEN it is unknown whether something was written. Raises Refused in a capture.
    """
    for each in changes:
        if isinstance(each, Result):
            return each
    change = merged([each for each in changes if isinstance(each, Change)])
    wanted = (change.options.keys() - change.expected.keys()).union(change.missing(guest.options))
    if guest.config is not None and not wanted:
        return Result(Outcome.ALREADY, "", digest=guest.digest, undo=change.undo)
    stop = write_refusal(guest, change.options)
    if stop is not None:
        return stop
    update = _Update(host, guest, writer, change, {option: value for option, value in change.options.items() if option in wanted})
    backup = update.prepare()
    if isinstance(backup, Result):
        return backup
    result = update.write(backup)
    if change.is_slight and result.outcome is Outcome.DONE:
        backups.finish(host, backup, used=False)
        return result._replace(backup="")
    backups.finish(host, backup, result.outcome in MAY_HAVE_WRITTEN)
    return result


class _Update(NamedTuple):
    """An update that may be written; `wanted` are the options of the change that do not have their value yet."""

    host: Host
    guest: Guest
    writer: Writer
    change: Change
    wanted: Values

    def prepare(self) -> backups.Backup | Result:
        """The backup, if the guest is still as it was judged and PVE would drop no line; otherwise why nothing is written."""
        host, guest = self.host, self.guest
        try:
            raw = guests.read_raw(host, guest.node, guest.vmid)
        except OSError as error:
            outcome = Outcome.GONE if isinstance(error, FileNotFoundError) else Outcome.WAITING
            return Result(outcome, f"the config cannot be read: {error.strerror}")
        if sha1(raw).hex() != guest.digest:
            return Result(Outcome.CHANGED, Outcome.CHANGED.value)
        if running.is_running(host, guest.vmid) is not guest.running:
            return Result(Outcome.CHANGED, "the VM was started or stopped meanwhile")
        # First, since it fails for all guests alike, and costs no process of PVE's.
        try:
            backup = backups.save(host, guest.vmid, raw)
        except ActionFailed as error:
            return Result(Outcome.UNSAVED, f"{error.message}. {error.hint}".rstrip(" ."))
        stop = self._precheck() or self._make_files()
        if stop is not None:
            backups.finish(host, backup, used=False)
            return stop
        return backup

    def _precheck(self) -> Result | None:
        """Why the write would damage the config, None if it would not."""
        check = self.writer.precheck(self.guest)
        return None if check.outcome is Outcome.DONE else check

    def _make_files(self) -> Result | None:
        """Makes the files that the change needs; why that is not possible, None if it was."""
        try:
            self.change.make_files()
        except NodeError as error:
            return Result(Outcome.BROKEN, f"{error.message}. {error.hint}".rstrip(" ."))
        return None

    def write(self, backup: backups.Backup) -> Result:
        """Writes, reads back and records; if it ends halfway, the record is in its state before the write."""
        host, guest, change = self.host, self.guest, self.change
        try:
            earlier = read_record(host, guest, change.before)
            write_record(host, guest, change.before)
        except PmxcfsAway as error:
            return Result(Outcome.WAITING, str(error))
        answer = self.writer.write(guest, self.wanted)
        after, trouble = self._read_back() if self._may_have_written(answer) else (None, "")
        if answer.outcome is not Outcome.DONE and (after is None or change.expected.keys().isdisjoint(self.wanted)):
            # After GONE the record is another node's by now.
            if answer.outcome not in MAY_HAVE_WRITTEN and answer.outcome is not Outcome.GONE:
                write_record_if_possible(host, guest, earlier)
            return answer
        if after is None and self._is_destroyed():
            return Result(Outcome.GONE, "it was destroyed meanwhile")
        if after is not None:
            write_record_if_possible(host, guest, change.after)
        if after is None or trouble:
            hint = f"Compare with the backup: pvehooks backups {guest.vmid} --diff {backup.digest[:8]} ({backup.path})"
            return Result(Outcome.NOT_VERIFIED, f"{guest.label}: {trouble}", backup=backup.path, hint=hint)
        later = any(_text(after.main.get(option)) != value for option, value in change.expected.items())
        return Result(Outcome.DONE, answer.words, digest=after.digest, backup=backup.path, later=later, undo=change.undo)

    def _may_have_written(self, answer: Result) -> bool:
        """PVE may refuse after it has written, as when a running QEMU does not take it (qemu-server, API2/Qemu.pm, update_vm)."""
        if answer.outcome in MAY_HAVE_WRITTEN:
            return True
        if answer.outcome in (Outcome.CHANGED, Outcome.GONE):
            return False
        try:
            return sha1(guests.read_raw(self.host, self.guest.node, self.guest.vmid)).hex() != self.guest.digest
        except OSError:
            return False

    def _is_destroyed(self) -> bool:
        """Whether the guest is being destroyed, or was: PVE leaves `lock: destroyed` alone in the config for a moment (qemu-server, destroy_vm)."""
        host, guest = self.host, self.guest
        try:
            raw = guests.read_raw(host, guest.node, guest.vmid)
        except FileNotFoundError:
            # Without pmxcfs no guest is there, and none was destroyed.
            return bool(node_facts.node_names(host)) and not node_facts.owner(host, guest.vmid)
        except OSError:
            return False
        return guests.parse(host, raw).main.get("lock") == "destroyed"

    def _read_back(self) -> tuple[GuestConfig | None, str]:
        """The config, None if it does not show the effect; and what differs from the expectation, '' if nothing."""
        host, guest, options = self.host, self.guest, self.change.options
        try:
            after = guests.parse(host, guests.read_raw(host, guest.node, guest.vmid))
        except OSError as error:
            return None, f"{_what(self.wanted)}, but the config cannot be read back: {error.strerror}"
        missing = self.change.missing(after.effective())
        if missing:
            return None, f"{_what(missing)}, but the config does not show it"
        assert guest.config is not None
        changed = differences(guest.config, after, options)
        if changed:
            why = "something else changed at the same moment, by another process or by the rewriting"
            return after, f"{_what(self.wanted)}, but {why}: {', '.join(changed)}"
        return after, ""


def _what(options: Collection[str]) -> str:
    return f"{' and '.join(options)} {'was' if len(options) == 1 else 'were'} changed"


def differences(before: GuestConfig, after: GuestConfig, aside: Collection[str]) -> list[str]:
    """What differs between two versions of a config, by section and option; `aside` are the options that we changed."""
    sections = [("", before.main, after.main), ("[PENDING] ", before.pending, after.pending)]
    for prefix, old, new in (("", before.snapshots, after.snapshots), ("special:", before.special_sections, after.special_sections)):
        sections += [(f"[{prefix}{name}] ", old.get(name, {}), new.get(name, {})) for name in sorted({*old, *new})]
    found = [
        f"{where}{option}"
        for where, old, new in sections
        for option in sorted({*old, *new}.difference(aside if where in ("", "[PENDING] ") else ()))
        if _text(old.get(option)) != _text(new.get(option))
    ]
    deleted = {*before.pending_delete.items()} ^ {*after.pending_delete.items()}
    return found + sorted(f"[PENDING] delete {option}" for option, _ in deleted if option not in aside)


def _text(value: Value | None) -> str | None:
    """A value without what PVE's rewriting always changes: white space at the ends of a description."""
    return None if value is None else str(value).strip()


# -- the record -------------------------------------------------------------------------------------------------------


def read_record(host: Host, guest: Guest, names: Collection[str]) -> RecordFields:
    """The parts of these names as the guest's record has them. Raises PmxcfsAway."""
    known = records.read(host, guest.vmid, _identity(guest)) if names else None
    return {name: getattr(known, name, None) for name in names}


def write_record(host: Host, guest: Guest, parts: RecordFields) -> None:
    """Writes the parts into the guest's record, and keeps the rest. Raises PmxcfsAway."""

    def change(known: records.Record) -> records.Record:
        rest: dict[str, Any] = dict(parts)
        if "rng0" in rest:
            known = known.with_rng0(rest.pop("rng0"))
        return known._replace(**rest)

    if parts:
        records.update(host, guest.vmid, _identity(guest), change)


def write_record_if_possible(host: Host, guest: Guest, parts: RecordFields) -> bool:
    """Stores these parts of the record if pmxcfs allows it; returns whether it did. If not, the next check of the config completes the record."""
    try:
        write_record(host, guest, parts)
    except PmxcfsAway:
        return False
    return True


def _identity(guest: Guest) -> records.Identity:
    return records.Identity(guest.uuid, guest.ctime)
