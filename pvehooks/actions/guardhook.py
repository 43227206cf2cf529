"""Attaching the guard to a guest, and taking it out again: the former hookscript is kept in the name of the stub, and put back."""

from __future__ import annotations

from pvehooks.actions import rng0, stubs, transaction
from pvehooks.actions.result import Outcome, Result
from pvehooks.actions.transaction import Change
from pvehooks.actions.writer import writer
from pvehooks.derived.attachment import OPTION, attached
from pvehooks.errors import NodeError
from pvehooks.host import Host
from pvehooks.settings.sections import RngSettings
from pvehooks.values import Attachment, Guest
from pvehooks.values.stubs import UnfitName, former_of, is_stub

RECORD = "attachment"


def change(host: Host, guest: Guest) -> Change | Result:
    """What makes the guard the guest's hookscript, or why it cannot be."""
    former = str(guest.options.get(OPTION, ""))
    try:
        volid = stubs.volid_for(host, guest.node, former)
    except UnfitName as unfit:
        return Result(Outcome.DECLINED, f"its own hookscript cannot be run before it: {unfit}")
    except NodeError as error:
        return Result(Outcome.BROKEN, f"{error.message}. {error.hint}".rstrip(" ."))
    return Change(
        {OPTION: volid},
        after={RECORD: Attachment(volid, former, int(host.now()), kept=not guest.needs_guard)},
        make_files=lambda: stubs.make(host, guest.node, volid),
        undo=f"pvehooks detach {guest.vmid}",
    )


def removal(guest: Guest) -> Change:
    """What puts the former hookscript of a guest with the guard back, or takes the guard out where there was none; no record is left."""
    former = former_of(str(guest.options[OPTION]))
    return Change({OPTION: former or None}, after={RECORD: None})


def attach(host: Host, guest: Guest, settings: RngSettings, with_rng0: bool = False) -> Result:
    """Makes the guard the guest's hookscript, in the same update as its rng0 where that is due; `volid` is the stub.

    Raises ActionFailed when something was written that is not as it should be.
    """
    if attached(guest):
        return Result(Outcome.ALREADY, f"it has the guard already ({guest.options[OPTION]})", digest=guest.digest)
    guard = change(host, guest)
    if isinstance(guard, Result):
        return guard
    volid = str(guard.options[OPTION])
    if not with_rng0:
        return transaction.apply(host, guest, writer(host, settings), guard).verified(volid=volid)
    rng = rng0.change(host, guest, settings)
    return transaction.apply(host, guest, writer(host, settings), rng, guard).verified(settings.value, volid)


def detach(host: Host, guest: Guest, settings: RngSettings, remember: bool = True) -> Result:
    """Puts the guest's former hookscript back, or takes the guard out where there was none; `volid` is the former one.

    To `remember` is to keep its record: what an administrator takes out is not attached again automatically. Raises ActionFailed.
    """
    present = str(guest.options.get(OPTION, ""))
    if not is_stub(present):
        words = f"its hookscript is {present}, which is none of the guard's" if present else "it does not have the guard"
        return Result(Outcome.DECLINED, words if guest.config else guest.problems[0][1])
    gone = removal(guest)
    former = former_of(present)
    if remember:
        # Recorded before the write: a guard that is taken out and unknown to the record would be attached again.
        unknown = {} if guest.attachment else {RECORD: Attachment(present, former, int(host.now()))}
        gone = gone._replace(before=unknown, after={})
    result = transaction.apply(host, guest, writer(host, settings), gone).verified(volid=former)
    if result.outcome is Outcome.REFUSED and former:
        return result._replace(words=f"{result.words}; without its former hookscript: qm set {guest.vmid} --delete hookscript")
    return result


def adopt(host: Host, guest: Guest) -> None:
    """Records the guard of a guest that has it without a record: a clone, or one whose writer was ended before the record."""
    if guest.config is None or guest.attachment is not None:
        return
    present = str(guest.config.main.get(OPTION, ""))
    if is_stub(present):
        transaction.write_record_if_possible(host, guest, {RECORD: Attachment(present, former_of(present), int(host.now()))})
