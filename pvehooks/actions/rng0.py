"""Giving a guest its rng0, and taking back what we gave."""

from __future__ import annotations

from pvehooks.actions import transaction
from pvehooks.actions.result import Outcome, Result
from pvehooks.actions.transaction import Change
from pvehooks.actions.writer import writer
from pvehooks.facts.node import cpu
from pvehooks.host import Host
from pvehooks.records import guests as records
from pvehooks.settings.sections import RngSettings
from pvehooks.values import AdminsRng, Guest

OPTION = "rng0"


def change(host: Host, guest: Guest, settings: RngSettings) -> Change | Result:
    """What gives the guest an rng0, or why it would not start with that of the settings."""
    hwrng = cpu.hwrng(host)
    if settings.source == "/dev/hwrng" and (not hwrng.present or hwrng.current == "none"):
        return Result(Outcome.DECLINED, f"[rng] source = /dev/hwrng, but {guest.node} has none: the VM would not start")
    record = records.RngRecord(settings.value, "writing", guest.digest, int(host.now()), guest.node)
    return Change(
        {OPTION: settings.value},
        before={OPTION: record},
        after={OPTION: record._replace(state="done")},
        undo=f"pvehooks undo {guest.vmid}",
    )


def inject(host: Host, guest: Guest, settings: RngSettings) -> Result:
    """Gives the guest an rng0, its `value`, or the reason why not; raises ActionFailed when something was written that is not as it should be."""
    return transaction.apply(host, guest, writer(host, settings), change(host, guest, settings)).verified(settings.value)


def confirm(host: Host, guest: Guest) -> None:
    """Completes a record left at "writing" whose rng0 is in the config: the writer was ended between the write and the record."""
    known = guest.recorded_rng
    if known is None or not known.done or known.confirmed:
        return
    record = transaction.read_record(host, guest, (OPTION,))[OPTION]
    if isinstance(record, records.RngRecord):
        transaction.write_record_if_possible(host, guest, {OPTION: record._replace(state="done")})


def remember(host: Host, guest: Guest) -> None:
    """Records an rng0 that an administrator gave a UEFI guest: once they remove it, it is not put back."""
    config = guest.config
    if config is None or not guest.uefi or guest.template or guest.recorded_rng is not None:
        return
    present = config.main.get(OPTION, config.pending.get(OPTION))
    if present is not None:
        transaction.write_record_if_possible(host, guest, {"admins_rng0": AdminsRng(str(present), int(host.now()))})


def undo(host: Host, guest: Guest, settings: RngSettings) -> Result:
    """Takes out the rng0 that we gave, its `value`, if it still is as we gave it; Outcome.DECLINED has the reason why not. Raises ActionFailed."""
    why = _not_ours(guest)
    if why:
        return Result(Outcome.DECLINED, why)
    confirm(host, guest)
    given = guest.recorded_rng.value if guest.recorded_rng else ""
    return transaction.apply(host, guest, writer(host, settings), Change({OPTION: None})).verified(given)


def has_given(guest: Guest) -> bool:
    """Whether the guest has an rng0 now and once was given one by us, whatever was changed in it since."""
    config, known = guest.config, guest.recorded_rng
    return config is not None and known is not None and known.given and (OPTION in config.main or OPTION in config.pending)


def _not_ours(guest: Guest) -> str:
    """Why the rng0 must stay as it is, '' if it may go."""
    config = guest.config
    if config is None:
        return guest.problems[0][1]
    if guest.recorded_rng is None or not guest.recorded_rng.given:
        return "pvehooks gave it no rng0"
    given = guest.recorded_rng.value
    present = config.main.get(OPTION, config.pending.get(OPTION))
    if present is None or OPTION in config.pending_delete:
        return "the rng0 that pvehooks gave it is gone already"
    if present != given:
        return f"its rng0 was changed since ({present}); take it out yourself: qm set {guest.vmid} --delete rng0"
    if config.pending.get(OPTION, given) != given:
        return f"another rng0 is pending ({config.pending[OPTION]}); take that back first: qm set {guest.vmid} --revert rng0"
    return ""
