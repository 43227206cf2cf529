"""Attaching the guard to a guest, and taking it out again: the former hookscript is kept in the name of the stub, and put back."""

from __future__ import annotations

from pvehooks import records
from pvehooks.actions import backups, rng0, stubs
from pvehooks.actions.qm import Outcome
from pvehooks.actions.rng0 import Result
from pvehooks.actions.writer import writer
from pvehooks.errors import ActionFailed, NodeError
from pvehooks.facts import guests
from pvehooks.host import Host
from pvehooks.rules.hookscript import OPTION, attached, why_not
from pvehooks.settings import RngSettings
from pvehooks.values import Attachment, Guest
from pvehooks.values.stubs import UnfitName, former_of, is_stub


def attach(host: Host, guest: Guest, settings: RngSettings, with_rng0: bool = False) -> Result:
    """Makes the guard the guest's hookscript, in the same change as its rng0 where that is due; `volid` is the stub.

    Raises ActionFailed when something was written that is not as it should be.
    """
    if attached(guest):
        return Result(Outcome.REFUSED, f"it has the guard already ({guest.options[OPTION]})")
    refusal = _not_now(guest)
    if refusal is not None:
        return refusal
    assert guest.config is not None
    former = str(guest.config.main.get(OPTION, ""))
    try:
        volid = stubs.volid_for(host, guest.node, former)
        stubs.make(host, guest.node, volid)
    except (UnfitName, NodeError) as error:
        return Result(Outcome.REFUSED if isinstance(error, UnfitName) else Outcome.BROKEN, _words(error))
    if with_rng0:
        result = rng0.inject(host, guest, settings, {OPTION: volid})
    else:
        result = _set(host, guest, settings, volid)
    if result.done:
        note(host, guest, Attachment(volid, former, int(host.now())))
        return result._replace(volid=volid)
    return result


def detach(host: Host, guest: Guest, settings: RngSettings) -> Result:
    """Puts the guest's former hookscript back, or takes the guard out where there was none; `volid` is the former one.

    The record of it stays: what a person takes out is not attached again by itself. Raises ActionFailed.
    """
    present = str(guest.config.main.get(OPTION, "")) if guest.config else ""
    if not is_stub(present):
        return Result(
            Outcome.REFUSED, f"its hookscript is {present}, which is none of the guard's" if present else "it does not have the guard"
        )
    refusal = _not_now(guest)
    if refusal is not None:
        return refusal
    former = former_of(present)
    if guest.attachment is None:
        note(host, guest, Attachment(present, former, int(host.now())))
    result = _set(host, guest, settings, former)
    if result.outcome is Outcome.REFUSED and former:
        return result._replace(words=f"{result.words}; without its former hookscript: qm set {guest.vmid} --delete hookscript")
    return result


def _not_now(guest: Guest) -> Result | None:
    """What can be told without asking qm."""
    lock = guest.config.main.get("lock") if guest.config else None
    if lock:
        return Result(Outcome.LOCKED, f"VM is locked ({lock})")
    why, _ = why_not(guest, changing=True)
    return Result(Outcome.REFUSED, why) if why else None


def _set(host: Host, guest: Guest, settings: RngSettings, volid: str) -> Result:
    """Sets the hookscript, '' takes it out: backed up before, written with the digest, read back after."""
    write = writer(host, settings)
    backup = rng0.prepare(host, guest, write)
    if isinstance(backup, Result):
        return backup
    answer = write.set(guest, OPTION, volid) if volid else write.unset(guest, OPTION)
    if answer.outcome is Outcome.BROKEN and _landed(host, guest, volid):
        answer = answer._replace(outcome=Outcome.DONE)
    backups.settle(host, backup, answer.outcome)
    if answer.outcome is not Outcome.DONE:
        return Result(answer.outcome, answer.words)
    if volid:
        digest, _ = rng0.verify(host, guest, {OPTION: volid}, backup)
    else:
        digest = _verify_taken_out(host, guest, backup)
    return Result(Outcome.DONE, answer.words, digest=digest, backup=backup.path, volid=volid)


def _landed(host: Host, guest: Guest, volid: str) -> bool:
    if volid:
        return rng0.landed(host, guest, {OPTION: volid})
    try:
        return OPTION not in guests.parse(host, guests.read_raw(host, guest.node, guest.vmid)).main
    except OSError:
        return False


def _verify_taken_out(host: Host, guest: Guest, backup: backups.Backup) -> str:
    hint = f"The config as it was: {backup.path}"
    try:
        after = guests.parse(host, guests.read_raw(host, guest.node, guest.vmid))
    except OSError as error:
        raise ActionFailed(f"{guest.label}: the guard was taken out, but the config cannot be read back: {error.strerror}", hint) from error
    assert guest.config is not None
    changed = rng0.differences(guest.config, after, (OPTION,))
    if OPTION in after.effective() or changed:
        what = f"something else changed with it: {', '.join(changed)}" if changed else "it is still there"
        raise ActionFailed(f"{guest.label}: the guard was taken out, but {what}", hint)
    return after.digest


def note(host: Host, guest: Guest, attachment: Attachment | None) -> bool:
    """Writes it into the guest's record, as far as pmxcfs lets us; whether it did (see adopt)."""
    try:
        return records.update(host, guest.vmid, records.Identity(guest.uuid, guest.ctime), attachment=attachment)
    except records.RecordsUnavailable:
        return False


def adopt(host: Host, guest: Guest) -> None:
    """Notes the guard of a guest that has it without a record: a clone, or one whose writer was ended before the record."""
    if guest.config is None or guest.attachment is not None:
        return
    present = str(guest.config.main.get(OPTION, ""))
    if is_stub(present):
        note(host, guest, Attachment(present, former_of(present), int(host.now())))


def _words(error: Exception) -> str:
    if isinstance(error, NodeError):
        return f"{error.message}. {error.hint}".rstrip(" .")
    return f"its own hookscript cannot be run before it: {error}"
