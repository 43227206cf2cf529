"""Giving a guest a firmware image of its own, and taking it back: our words go into its `args` beside the user's own.

The image's sha256 is noted in the guest's record, and the guard looks at it before each start. While our words go in or out the record
says "writing", so that a writer that is ended half way keeps no guest from starting.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from itertools import pairwise

from pvehooks import records
from pvehooks.actions import backups, guardhook, rng0, stubs
from pvehooks.actions.qm import Outcome
from pvehooks.actions.rng0 import Result
from pvehooks.actions.writer import NOTHING_ELSE, QmWriter, Writer, writer
from pvehooks.errors import ActionFailed, NodeError
from pvehooks.facts import guests, images
from pvehooks.host import Host
from pvehooks.rules import firmwarefit
from pvehooks.rules.hookscript import OPTION as HOOKSCRIPT
from pvehooks.rules.hookscript import attached
from pvehooks.settings import RngSettings
from pvehooks.text import qemuargs
from pvehooks.values import Guest
from pvehooks.values.images import ImageFile, PinnedFirmware
from pvehooks.values.stubs import UnfitName, former_of

OPTION = "args"


def own_args(guest: Guest) -> str:
    """The user's own words in the guest's `args`, to the letter: without ours, those of a clone's original among them."""
    present = str(guest.options.get(OPTION, ""))
    known = [guest.firmware.args] if guest.firmware else []
    for ours in (*known, *_traces(present)):
        left = qemuargs.without(present, ours)
        if left is not None:
            return left
    return present


def _traces(args: str) -> list[str]:
    """Our words as they stand in `args` without a record of them: a clone's, or of a writer that was ended."""
    split = qemuargs.split(args) or ()
    found = []
    for word, value in pairwise(split):
        _, _, file = value.partition("file.filename=")
        if word == "-blockdev" and f"node-name={firmwarefit.NODE_NAME}" in value.split(",") and file:
            found.append(_written(firmwarefit.words(file.replace(",,", ","), firmwarefit.PFLASH)))
        elif word == "-bios" and images.is_image_path(value):
            found.append(_written(firmwarefit.words(value, firmwarefit.BIOS)))
    return found


def _written(words: tuple[str, ...]) -> str:
    return " ".join(qemuargs.quoted(word) for word in words)


def give(host: Host, guest: Guest, settings: RngSettings, file: ImageFile, with_guard: bool) -> Result:
    """Gives the guest the image; `value` is our part of its args, `volid` the hookscript that was set along, if one was.

    Raises ArgsError where its own args leave no place for ours, and ActionFailed when something was written that is not as it should be.
    """
    how = firmwarefit.style(guest)
    ours = _written(firmwarefit.words(file.path, how))
    args = qemuargs.joined(own_args(guest), ours)
    pinned = PinnedFirmware(file.volid, file.sha256, how, ours, int(host.now()), guest.node)
    if args == guest.options.get(OPTION) and not (with_guard and not attached(guest)):
        _note(host, guest, pinned)
        return Result(Outcome.DONE, "", ours, guest.digest)
    wanted = {OPTION: args}
    try:
        if with_guard and not attached(guest):
            former = str(guest.config.main.get(HOOKSCRIPT, "")) if guest.config else ""
            wanted[HOOKSCRIPT] = stubs.volid_for(host, guest.node, former)
            stubs.make(host, guest.node, wanted[HOOKSCRIPT])
    except (UnfitName, NodeError) as error:
        return Result(Outcome.REFUSED, f"the guard, which looks at the image before each start, cannot be attached: {error}")
    result = _change(host, guest, writer(host, settings), wanted, pinned, pinned)
    return result._replace(value=ours, volid=wanted.get(HOOKSCRIPT, "")) if result.done else result


def take(host: Host, guest: Guest, settings: RngSettings) -> Result:
    """Takes our part out of the guest's args, which are then as they would be without us; `value` is what is left of them.

    Where they do not hold our part any more they stay as they are, and only the record goes. Raises ActionFailed.
    """
    pinned = guest.firmware
    present = str(guest.options.get(OPTION, ""))
    left = own_args(guest)
    if left == present:
        if pinned is None:
            return Result(Outcome.REFUSED, "pvehooks gave it no firmware image")
        _note(host, guest, None)
        return Result(Outcome.DONE, "its args were edited and hold nothing of ours any more: they stay as they are", present)
    return _change(host, guest, writer(host, settings), {OPTION: left}, pinned, None)._replace(value=left)


def hand_over(host: Host, guest: Guest, option: str) -> Result:
    """Sets Proxmox VE's own option to the guest's image and takes our part out of its args, in one change: qm makes all of it or nothing.

    The guard goes along where the guest had it for the image alone. Raises ActionFailed.
    """
    pinned = guest.firmware
    if pinned is None:
        return Result(Outcome.REFUSED, "pvehooks gave it no firmware image")
    left = own_args(guest)
    wanted = {} if left == guest.options.get(OPTION, "") else {OPTION: left}
    freed = attached(guest) and not guest.passes_through
    if freed:
        wanted[HOOKSCRIPT] = former_of(str(guest.options[HOOKSCRIPT]))
    result = _change(host, guest, QmWriter(host), wanted, pinned, None, {option: pinned.volid})
    if result.done and freed:
        guardhook.note(host, guest, None)
    return result._replace(value=left)


def _change(
    host: Host,
    guest: Guest,
    write: Writer,
    wanted: dict[str, str],
    during: PinnedFirmware | None,
    then: PinnedFirmware | None,
    unknown: Mapping[str, str] = NOTHING_ELSE,
) -> Result:
    """Writes the options ('' takes args out): judged and backed up before, with the digest, and read back after.

    The record has `during` as being written meanwhile, and `then` in the end. `unknown` are options that this version cannot read
    back: qm's word for them has to do.
    """
    refusal = _not_now(guest)
    if refusal is not None:
        return refusal
    backup = rng0.prepare(host, guest, write)
    if isinstance(backup, Result):
        return backup
    before = guest.firmware
    try:
        if during is not None:
            _note(host, guest, during._replace(state="writing"))
    except records.RecordsUnavailable as error:
        backups.settle(host, backup, Outcome.WAITING)
        return Result(Outcome.WAITING, str(error))
    first, *rest = (*wanted.items(), *unknown.items())
    answer = write.set(guest, *first, dict(rest)) if first[1] or rest else write.unset(guest, OPTION)
    if answer.outcome is Outcome.BROKEN and wanted and _landed(host, guest, wanted):
        answer = answer._replace(outcome=Outcome.DONE)
    backups.settle(host, backup, answer.outcome)
    if answer.outcome is not Outcome.DONE:
        if answer.outcome not in (Outcome.BROKEN, Outcome.GONE):
            _end(host, guest, before)
        return Result(answer.outcome, answer.words)
    digest, later = _verify(host, guest, wanted, backup.path)
    _end(host, guest, then)
    return Result(Outcome.DONE, answer.words, digest=digest, backup=backup.path, later=later)


def _not_now(guest: Guest) -> Result | None:
    config = guest.config
    if config is None:
        return Result(Outcome.REFUSED, guest.problems[0][1])
    lock = config.main.get("lock")
    if lock:
        return Result(Outcome.LOCKED, f"VM is locked ({lock})")
    if config.dropped:
        line = config.dropped[0]
        return Result(Outcome.REFUSED, f"PVE would lose line {line.line} of the config with it ({line.reason}); mend it first")
    others = sorted({*config.pending, *config.pending_delete} - {OPTION})
    if others and not guest.running:
        return Result(Outcome.REFUSED, f"it is stopped and other changes are pending ({', '.join(others)}), which would be applied along")
    return None


def _landed(host: Host, guest: Guest, wanted: dict[str, str]) -> bool:
    try:
        after = guests.parse(host, guests.read_raw(host, guest.node, guest.vmid)).effective()
    except OSError:
        return False
    return all(after.get(option, "") == value for option, value in wanted.items())


def _verify(host: Host, guest: Guest, wanted: dict[str, str], backup: str) -> tuple[str, bool]:
    """Reads back: the digest, and whether the args are only pending; raises ActionFailed when they are not as they should be."""
    hint = f"The config as it was: {backup}"
    try:
        after = guests.parse(host, guests.read_raw(host, guest.node, guest.vmid))
    except OSError as error:
        raise ActionFailed(f"{guest.label}: its args were written, but the config cannot be read back: {error.strerror}", hint) from error
    for option, value in wanted.items():
        if str(after.effective().get(option, "")) != value:
            raise ActionFailed(f"{guest.label}: {option} was written, but the config does not show it", hint)
    assert guest.config is not None
    changed = rng0.differences(guest.config, after, tuple(wanted))
    if changed:
        raise ActionFailed(f"{guest.label}: its args were written, but something else changed with it: {', '.join(changed)}", hint)
    return after.digest, any(str(after.main.get(option, "")) != value for option, value in wanted.items())


def _note(host: Host, guest: Guest, pinned: PinnedFirmware | None) -> None:
    """Writes it into the guest's record; raises RecordsUnavailable."""
    records.update(host, guest.vmid, records.Identity(guest.uuid, guest.ctime), firmware=pinned)


def _end(host: Host, guest: Guest, pinned: PinnedFirmware | None) -> None:
    """The same once the config is written, as far as pmxcfs lets us: a record left at "writing" is right with both args."""
    with suppress(records.RecordsUnavailable):
        _note(host, guest, pinned)


def let_guard_go(host: Host, guest: Guest, settings: RngSettings) -> Result | None:
    """Takes the guard out of a guest that had it for its image alone; None where it keeps it. `guest` is read after the image was taken."""
    if guest.needs_guard or not attached(guest):
        return None
    result = guardhook.detach(host, guest, settings)
    if result.done:
        # Nobody removed it: should the guest need it again, it comes by itself.
        guardhook.note(host, guest, None)
    return result
