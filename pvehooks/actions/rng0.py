"""Giving a guest its rng0, and taking back what we gave: backed up before, written with the digest, read back after."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from pvehooks import records
from pvehooks.actions import backups
from pvehooks.actions.qm import Outcome
from pvehooks.actions.writer import AT_ONCE, NOTHING_ELSE, Writer, writer
from pvehooks.errors import ActionFailed
from pvehooks.facts import guests
from pvehooks.facts import node as node_facts
from pvehooks.host import Host
from pvehooks.settings import RngSettings
from pvehooks.values import Guest, GuestConfig, Value
from pvehooks.values.digests import sha1

OPTION = "rng0"


class Result(NamedTuple):
    """What became of an action on a guest. `digest` is that of the config afterwards ('' when nothing was written).

    `later` tells that it takes effect at the guest's next start only; `volid` is the hookscript that was set.
    """

    outcome: Outcome
    words: str
    value: str = ""
    digest: str = ""
    backup: str = ""
    later: bool = False
    volid: str = ""

    @property
    def done(self) -> bool:
        """Whether the deed was done and verified."""
        return self.outcome is Outcome.DONE


def inject(host: Host, guest: Guest, settings: RngSettings, along: Mapping[str, str] = NOTHING_ELSE) -> Result:
    """Gives the guest an rng0, or says why not; raises ActionFailed when something was written that is not as it should be.

    `along` are options that are set in the same change.
    """
    value = settings.value
    refusal = _not_now(host, guest, settings)
    if refusal is not None:
        return refusal
    write = writer(host, settings)
    backup = prepare(host, guest, write)
    if isinstance(backup, Result):
        return backup
    result = _write(host, guest, write, value, backup, along)
    backups.settle(host, backup, result.outcome)
    return result


def prepare(host: Host, guest: Guest, write: Writer) -> backups.Backup | Result:
    """The backup, once the config is as it was judged and may be rewritten; otherwise why nothing is to be written.

    Whoever then writes, or not, settles the backup.
    """
    try:
        raw = guests.read_raw(host, guest.node, guest.vmid)
    except OSError as error:
        outcome = Outcome.GONE if isinstance(error, FileNotFoundError) else Outcome.WAITING
        return Result(outcome, f"the config cannot be read: {error.strerror}")
    if digest_of(raw) != guest.digest:
        return Result(Outcome.CHANGED, Outcome.CHANGED.value)
    check = write.precheck(guest)
    if check.outcome is not Outcome.DONE:
        return Result(check.outcome, check.words)
    try:
        return backups.save(host, guest.vmid, raw)
    except ActionFailed as error:
        return Result(Outcome.BROKEN, f"{error.message}. {error.hint}")


def _not_now(host: Host, guest: Guest, settings: RngSettings) -> Result | None:
    """What can be told without asking qm: the guest is locked, or would not start with the rng0 of the settings."""
    lock = guest.config.main.get("lock") if guest.config else None
    if lock:
        return Result(Outcome.LOCKED, f"VM is locked ({lock})")
    hwrng = node_facts.hwrng(host)
    if settings.source == "/dev/hwrng" and (not hwrng.present or hwrng.current == "none"):
        return Result(Outcome.REFUSED, f"[rng] source = /dev/hwrng, but {guest.node} has none: the guest would not start")
    return None


def _write(host: Host, guest: Guest, write: Writer, value: str, backup: backups.Backup, along: Mapping[str, str]) -> Result:
    wanted = {OPTION: value, **along}
    identity = records.Identity(guest.uuid, guest.ctime)
    intended = records.RngRecord(value, "writing", guest.digest, int(host.now()), guest.node)
    try:
        earlier = records.read(host, guest.vmid, identity)
        records.set_rng0(host, guest.vmid, identity, intended)
    except records.RecordsUnavailable as error:
        return Result(Outcome.WAITING, str(error))
    answer = write.set(guest, OPTION, value, along)
    if answer.outcome is Outcome.BROKEN and landed(host, guest, wanted):
        answer = answer._replace(outcome=Outcome.DONE)
    if answer.outcome is not Outcome.DONE:
        # With GONE the record is another node's by now; with BROKEN nobody knows what comes yet.
        if answer.outcome not in (Outcome.BROKEN, Outcome.GONE):
            _note(host, guest, earlier.rng0 if earlier else None)
        return Result(answer.outcome, answer.words)
    _note(host, guest, intended._replace(state="done"))
    digest, later = verify(host, guest, wanted, backup)
    return Result(Outcome.DONE, answer.words, value, digest, backup.path, later)


def _note(host: Host, guest: Guest, rng0: records.RngRecord | None) -> None:
    """Writes the record as far as pmxcfs lets us; one left at "writing" is confirmed at the next look (see confirm)."""
    try:
        records.set_rng0(host, guest.vmid, records.Identity(guest.uuid, guest.ctime), rng0)
    except records.RecordsUnavailable:
        return


def confirm(host: Host, guest: Guest) -> None:
    """Ends a record left at "writing" whose rng0 is in the config: the writer was ended between its deed and the record."""
    known = guest.recorded_rng
    if known is None or not known.done or known.confirmed:
        return
    record = records.read(host, guest.vmid, records.Identity(guest.uuid, guest.ctime))
    if record is not None and record.rng0 is not None:
        _note(host, guest, record.rng0._replace(state="done"))


def digest_of(raw: bytes) -> str:
    """The SHA-1 of a config's bytes, as `qm set --digest` takes it."""
    return sha1(raw).hex()


def landed(host: Host, guest: Guest, wanted: Mapping[str, str]) -> bool:
    """Whether the change is there although no answer came (qm killed or silenced after its deed)."""
    try:
        config = guests.parse(host, guests.read_raw(host, guest.node, guest.vmid))
    except OSError:
        return False
    return all(value in (config.main.get(option), config.pending.get(option)) for option, value in wanted.items())


def verify(host: Host, guest: Guest, wanted: Mapping[str, str], backup: backups.Backup) -> tuple[str, bool]:
    """Reads back: the digest, and whether the first option is pending; raises ActionFailed when they are not as they should be."""
    what = " and ".join(wanted)
    first, value = next(iter(wanted.items()))
    hint = f"Compare with the backup: pvehooks backups {guest.vmid} --diff {backup.digest[:8]} ({backup.path})"
    try:
        config = guests.parse(host, guests.read_raw(host, guest.node, guest.vmid))
    except OSError as error:
        raise ActionFailed(f"{guest.label}: {what} was written, but the config cannot be read back: {error.strerror}", hint) from error
    for option, each in wanted.items():
        if each not in (config.main.get(option), config.pending.get(option)):
            raise ActionFailed(f"{guest.label}: {option} was written, but the config does not show it", hint)
    assert guest.config is not None
    changed = differences(guest.config, config, wanted)
    if changed:
        raise ActionFailed(
            f"{guest.label}: {what} was written, but something else changed at the same moment, by somebody or by the rewriting: {', '.join(changed)}",
            hint,
        )
    return config.digest, config.pending.get(first) == value or (guest.running and first not in AT_ONCE)


def differences(before: GuestConfig, after: GuestConfig, aside: Collection[str] = (OPTION,)) -> list[str]:
    """What differs between two readings of a config, by section and option; `aside` are the options that we changed."""
    sections = [("", before.main, after.main), ("[PENDING] ", before.pending, after.pending)]
    names = {*before.snapshots, *after.snapshots}
    sections += [(f"[{name}] ", before.snapshots.get(name, {}), after.snapshots.get(name, {})) for name in sorted(names)]
    names = {*before.special_sections, *after.special_sections}
    sections += [
        (f"[special:{name}] ", before.special_sections.get(name, {}), after.special_sections.get(name, {})) for name in sorted(names)
    ]
    found = [
        f"{where}{option}"
        for where, old, new in sections
        for option in sorted({*old, *new} - (set(aside) if where in ("", "[PENDING] ") else set()))
        if _plain(old.get(option)) != _plain(new.get(option))
    ]
    deleted = {*before.pending_delete.items()} ^ {*after.pending_delete.items()}
    return found + sorted(f"[PENDING] delete {option}" for option, _ in deleted if option not in aside)


def _plain(value: Value | None) -> str | None:
    """A value without what PVE's rewriting changes by itself: white space at the ends of a description."""
    return None if value is None else str(value).strip()


def _keep(config: GuestConfig, guest: Guest) -> str:
    """Why the rng0 must stay as it is, '' if it may go."""
    given = guest.recorded_rng.value if guest.recorded_rng else ""
    present = config.main.get(OPTION, config.pending.get(OPTION))
    if present is None or OPTION in config.pending_delete:
        return "the rng0 that pvehooks gave it is gone already"
    if present != given:
        return f"its rng0 was changed since ({present}); take it out yourself: qm set {guest.vmid} --delete rng0"
    if config.pending.get(OPTION, given) != given:
        return f"another rng0 is pending ({config.pending[OPTION]}); take that back first: qm set {guest.vmid} --revert rng0"
    if config.dropped:
        line = config.dropped[0]
        return f"PVE would lose line {line.line} of the config with it ({line.reason}); mend it first"
    others = sorted({*config.pending, *config.pending_delete} - {OPTION})
    if others and not guest.running:
        return f"it is stopped and other changes are pending ({', '.join(others)}), which would be applied along"
    return ""


def undo(host: Host, guest: Guest, settings: RngSettings) -> Result:
    """Takes out the rng0 that we gave, if it still is as we gave it; Outcome.REFUSED says why not."""
    config = guest.config
    if config is None:
        return Result(Outcome.REFUSED, guest.problems[0][1])
    if guest.recorded_rng is None:
        return Result(Outcome.REFUSED, "pvehooks gave it no rng0")
    refusal = _keep(config, guest)
    if refusal:
        return Result(Outcome.REFUSED, refusal)
    present = guest.recorded_rng.value
    write = writer(host, settings)
    backup = prepare(host, guest, write)
    if isinstance(backup, Result):
        return backup
    confirm(host, guest)
    answer = write.unset(guest, OPTION)
    backups.settle(host, backup, answer.outcome)
    if answer.outcome is not Outcome.DONE:
        return Result(answer.outcome, answer.words)
    after = guests.parse(host, guests.read_raw(host, guest.node, guest.vmid))
    later = OPTION in after.main
    changed = differences(config, after)
    if OPTION in after.effective() or changed:
        what = f"something else changed with it: {', '.join(changed)}" if changed else "it is still there"
        raise ActionFailed(f"{guest.label}: rng0 was taken out, but {what}", hint=f"The config as it was: {backup.path}")
    return Result(Outcome.DONE, answer.words, str(present), after.digest, backup.path, later)
