"""Our tag of a guest: what Proxmox VE's web interface shows beside its name. All other tags stay as they are."""

from __future__ import annotations

from pvehooks.actions import transaction
from pvehooks.actions.result import Outcome, Result
from pvehooks.actions.transaction import Change
from pvehooks.actions.writer import writer
from pvehooks.host import Host
from pvehooks.settings.sections import RngSettings
from pvehooks.values import GivenTag, Guest, guesttags
from pvehooks.values.guesttags import OPTION

RECORD = "tag"
_DATACENTER = "/etc/pve/datacenter.cfg"


def change(host: Host, guest: Guest, tag: str) -> Change | Result:
    """What makes `tag` the guest's only one of ours ('': none of them), or why that would change its other tags.

    Proxmox VE sorts tags, puts semicolons between them and makes them lower-case whenever one is set.
    """
    if guest.config is None:
        return Result(Outcome.DECLINED, guest.problems[0][1])
    if OPTION in guest.config.pending or OPTION in guest.config.pending_delete:
        return Result(Outcome.DECLINED, f"a change of its tags is pending; take that back first: qm set {guest.vmid} --revert {OPTION}")
    try:
        style = guesttags.style(host.read(_DATACENTER).decode("utf-8", "replace"))
    except FileNotFoundError:
        style = guesttags.TagStyle()
    except OSError as error:
        return Result(Outcome.WAITING, f"{_DATACENTER}: cannot be read ({error.strerror})")
    present = str(guest.config.main.get(OPTION, ""))
    others = [each for each in guesttags.split(present) if each not in guesttags.OURS]
    own = ";".join(guesttags.split(present))
    if others and (present != own or guesttags.stored(others, style) != ";".join(others)):
        anew = guesttags.stored(guesttags.split(present), style)
        words = f"Proxmox VE would write its tags anew, '{anew}' in place of '{present}'; have that done first"
        return Result(Outcome.DECLINED, f"{words}: qm set {guest.vmid} --tags '{anew}'")
    value = guesttags.stored([*others, tag] if tag else others, style)
    now = int(host.now())
    known = GivenTag(tag, "writing", now) if tag else guest.given_tag and guest.given_tag._replace(state="writing")
    return Change(
        {OPTION: value or None},
        before={RECORD: known or None},
        after={RECORD: GivenTag(tag, "done", now) if tag else None},
        is_slight=True,
    )


def write(host: Host, guest: Guest, tag: str, settings: RngSettings) -> Result:
    """Makes `tag` the guest's only one of ours; raises ActionFailed when something was written that is not as it should be."""
    return transaction.apply(host, guest, writer(host, settings), change(host, guest, tag)).verified()


def complete(host: Host, guest: Guest, tag: str, is_on: bool) -> None:
    """Brings the record in line with a config in which nothing is to be written: after an end between the two, of a clone, after another's edit."""
    if guest.config is None:
        return
    given = guest.given_tag
    present = guesttags.ours(str(guest.config.main.get(OPTION, "")))
    if present == [tag] and is_on and (given is None or (given.value, given.state) != (tag, "done")):
        transaction.write_record_if_possible(host, guest, {RECORD: GivenTag(tag, "done", int(host.now()))})
    elif not present and not tag and given is not None:
        transaction.write_record_if_possible(host, guest, {RECORD: None})
