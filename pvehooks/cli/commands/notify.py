"""pvehooks notify: where messages to people go, what waits, and a message to try it."""

from __future__ import annotations

import argparse
import contextlib
import time

from pvehooks.cli import audit, booted, envelope, terminal
from pvehooks.cli.view import View, view
from pvehooks.errors import EXIT_BLOCKED, EXIT_OK, ActionFailed, NodeError, UsageError
from pvehooks.host import Host
from pvehooks.journal import outbox
from pvehooks.journal.entries import Entry
from pvehooks.journal.kind import NOTICE
from pvehooks.notify import channels
from pvehooks.notify.channels import HandOver
from pvehooks.notify.message import TEST
from pvehooks.notify.pending import Store
from pvehooks.notify.sender import HOUR
from pvehooks.settings.table import written
from pvehooks.wording import counted, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SUMMARY = "show where messages to people go and what waits; send one to try it"
EXAMPLE = "pvehooks notify --test"
# A target that does not answer takes as long.
_PATIENCE = 180.0
# Which of the two it is, only a message shows.
_WORDS = {channels.PVE: "Proxmox VE's notifications (where it has none: sendmail, for root)"}


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    parser.add_argument("--test", action="store_true", help="send a message now, as the service would, and show who took it")


def run(options: argparse.Namespace) -> int:
    """Prints where messages go, or what became of the test."""
    seen = view(options, own=options.test)
    if options.test and not seen.host.is_node:
        raise UsageError("--test sends a message from this node, and takes no --root")
    return _test(seen, options.json) if options.test else _show(seen, options.json)


# -- what there is ----------------------------------------------------------------------------------------------------


def _show(seen: View, as_json: bool) -> int:
    state = _state(seen)
    if as_json:
        # "pending" is deprecated.
        envelope.show(seen.host, seen.node, {**state, "pending": [{**each, "why": each["reasons"]} for each in state["waiting"]]})
        return EXIT_OK
    rows = [("messages go to", ", ".join(_WORDS.get(way, way) for way in state["ways"]))]
    rows += [("not run", why) for why in state["not_run"]]
    rows.append(("messages about", ", ".join(f"{option} = {value}" for option, value in state["settings"].items())))
    rows.append(("in the last hour", f"{counted(state['in_last_hour'], 'message')} of {seen.settings.notify.per_hour} at most"))
    if state["in_outbox"]:
        rows.append(("not sent yet", counted(state["in_outbox"], "event")))
    for each in state["waiting"]:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(each["made"]))
        reasons = "; ".join(f"{way}: {why}" for way, why in each["reasons"].items()) or "not tried yet"
        rows.append(("not handed over", f"{each['subject']} (since {since}, tried {counted(each['attempts'], 'time')}): {reasons}"))
    terminal.table(("", ""), [(name, printable(text)) for name, text in rows])
    return EXIT_OK


def _state(seen: View) -> dict[str, Any]:
    """What the files say; raises PermissionError for a user who may not see them, who would be shown that nothing waits."""
    store = Store(seen.host)
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        seen.host.names(outbox.HOME)
    ways, refused = channels.channels(seen.host)
    settings = seen.settings.notify._asdict()
    return {
        "ways": ways,
        "not_run": refused,
        "settings": {option: written(value) for option, value in settings.items() if option != "per_hour"},
        "in_last_hour": len(store.handed_over(HOUR)),
        "in_outbox": len(outbox.waiting(seen.host)),
        "waiting": [
            {"subject": each.message.subject, "made": int(each.made), "attempts": each.attempts, "reasons": each.why}
            for each in store.pending()
        ],
    }


# -- a test -----------------------------------------------------------------------------------------------------------


def _test(seen: View, as_json: bool) -> int:
    """The message takes the way of all others, through the service and its sandbox."""
    if booted.without_systemd(seen.host):
        raise NodeError("systemd does not run here, so nothing hands messages over")
    text = f"This is a test of pvehooks notify, asked for by {audit.user()}. A message about a VM comes the same way."
    fields = {"PVEHOOKS_EVENT": TEST, "PVEHOOKS_NODE": seen.node}
    name = outbox.leave(seen.host, Entry(text, "", NOTICE, fields, TEST))
    if not name:
        raise NodeError(f"nothing can be left in {outbox.DIRECTORY}", hint="See: systemctl status pvehooks-notify.path")
    results = _await(seen.host, name)
    if as_json:
        by_way = {way: result._asdict() for way, result in results.items()}
        # "ways" is deprecated.
        envelope.show(seen.host, seen.node, {"handed_over": by_way, "ways": by_way})
    else:
        for result in results.values():
            print(printable(f"handed over: {result.words}" if result.done else f"not handed over: {result.words}"))
            if result.missed:
                print(printable(f"not handed over: {result.missed}"))
    return EXIT_OK if all(result.done and not result.missed for result in results.values()) else EXIT_BLOCKED


def _await(host: Host, name: str) -> dict[str, HandOver]:
    store = Store(host)
    deadline = host.monotonic() + _PATIENCE
    while host.monotonic() < deadline:
        results = store.take_answer(name)
        if results is not None:
            return results
        host.sleep(0.1)
    outbox.remove(host, [name])
    raise ActionFailed(
        f"pvehooks-notify has not taken the message within {_PATIENCE:.0f} s",
        hint="See: systemctl status pvehooks-notify.path pvehooks-notify.service",
    )
