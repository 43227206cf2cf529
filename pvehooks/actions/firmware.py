"""Giving a guest a firmware image of its own, and taking it back: our words go into its `args` beside the user's own.

The image's sha256 is noted in the guest's record, and the guard compares it before each start. While our words go in or out the record
says "writing", so that a writer that is ended half way keeps no guest from starting.
"""

from __future__ import annotations

from itertools import pairwise

from pvehooks.actions import guardhook, transaction
from pvehooks.actions.result import Outcome, Result
from pvehooks.actions.transaction import Change
from pvehooks.actions.writer import QmWriter, writer
from pvehooks.derived import firmware_fit
from pvehooks.derived import firmware_fit as firmwarefit
from pvehooks.derived.attachment import OPTION as HOOKSCRIPT
from pvehooks.derived.attachment import attached
from pvehooks.facts.storage import images
from pvehooks.formats import qemuargs
from pvehooks.host import Host
from pvehooks.settings.sections import RngSettings
from pvehooks.values import Guest
from pvehooks.values.images import ImageFile, PinnedFirmware

OPTION = "args"
RECORD = "firmware"


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
        if word == "-blockdev" and f"node-name={firmware_fit.NODE_NAME}" in value.split(",") and file:
            found.append(_written(firmware_fit.words(file.replace(",,", ","), firmware_fit.PFLASH)))
        elif word == "-bios" and images.is_image_path(value):
            found.append(_written(firmware_fit.words(value, firmware_fit.BIOS)))
    return found


def _written(words: tuple[str, ...]) -> str:
    return " ".join(qemuargs.quoted(word) for word in words)


def _ours(guest: Guest, file: ImageFile) -> str:
    """Our part of the guest's args, with this image."""
    return _written(firmwarefit.words(file.path, firmwarefit.style(guest)))


def change(host: Host, guest: Guest, file: ImageFile) -> Change:
    """What gives the guest the image. Raises ArgsError where its own args leave no place for ours."""
    ours = _ours(guest, file)
    pinned = PinnedFirmware(file.volid, file.sha256, firmwarefit.style(guest), ours, int(host.now()), guest.node)
    return Change(
        {OPTION: qemuargs.joined(own_args(guest), ours)},
        before={RECORD: pinned._replace(state="writing")},
        after={RECORD: pinned},
        undo=f"pvehooks firmware unset {guest.vmid}",
    )


def give(host: Host, guest: Guest, settings: RngSettings, file: ImageFile, with_guard: bool) -> Result:
    """Gives the guest the image; `value` is our part of its args, `volid` the hookscript that was set with it, if one was.

    Raises ArgsError where its own args leave no place for ours, and ActionFailed when something was written that is not as it should be.
    """
    given, guard = change(host, guest, file), Change({})
    if with_guard and not attached(guest):
        hook = guardhook.change(host, guest)
        if isinstance(hook, Result):
            return hook._replace(words=f"the guard, which compares the image before each start, cannot be attached: {hook.words}")
        # It is taken out with the image.
        guard = hook._replace(undo="")
    ours = _ours(guest, file)
    result = transaction.apply(host, guest, writer(host, settings), given, guard).verified(ours, guard.options.get(HOOKSCRIPT) or "")
    if result.outcome is not Outcome.ALREADY:
        return result
    transaction.write_record(host, guest, given.after)
    return result._replace(value=ours)


def take(host: Host, guest: Guest, settings: RngSettings) -> Result:
    """Takes our part out of the guest's args, which are then as they would be without us; `value` is what is left of them.

    Where they do not hold our part any more they stay as they are, and only the record goes. Raises ActionFailed.
    """
    left = own_args(guest)
    if left == guest.options.get(OPTION, ""):
        if guest.firmware is None:
            return Result(Outcome.DECLINED, "pvehooks gave it no firmware image")
        transaction.write_record(host, guest, {RECORD: None})
        return Result(Outcome.ALREADY, "its args were edited and hold nothing of ours any more: they stay as they are", left)
    return transaction.apply(host, guest, writer(host, settings), _taken(guest, left)).verified(left)


def hand_over(host: Host, guest: Guest, option: str) -> Result:
    """Sets Proxmox VE's own option to the guest's image and takes our part out of its args, in one update: qm makes all of it or nothing.

    The guard is taken out too where the guest had it for the image alone. Raises ActionFailed.
    """
    pinned = guest.firmware
    if pinned is None:
        return Result(Outcome.DECLINED, "pvehooks gave it no firmware image")
    left = own_args(guest)
    # This version cannot read the option back.
    moved = Change({option: pinned.volid}, effect={})
    guard = guardhook.removal(guest) if attached(guest) and not guest.passes_through else Change({})
    return transaction.apply(host, guest, QmWriter(host), _taken(guest, left), moved, guard).verified(left)


def _taken(guest: Guest, left: str) -> Change:
    """What leaves this of the guest's args, and nothing of ours."""
    during = {RECORD: guest.firmware._replace(state="writing")} if guest.firmware else {}
    return Change({OPTION: left or None}, before=during, after={RECORD: None})


def let_guard_go(host: Host, guest: Guest, settings: RngSettings) -> Result | None:
    """Takes the guard out of a guest that had it for its image alone; None where it keeps it. `guest` is read after the image was taken.

    No one removed it: should the guest need it again, it is attached automatically.
    """
    if guest.needs_guard or not attached(guest):
        return None
    return guardhook.detach(host, guest, settings, remember=False)
