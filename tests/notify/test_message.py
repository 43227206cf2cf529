"""What a message says: the subject, the text, and about what one is sent."""

from __future__ import annotations

import pytest

from pvehooks.causes import registry
from pvehooks.journal.events import KINDS
from pvehooks.journal.kind import ERR, INFO, WARNING
from pvehooks.journal.outbox import Letter
from pvehooks.notify.message import TEST, WORDS, compose, is_wanted
from pvehooks.settings import load
from pvehooks.settings.sections import NotifySettings
from tests.beds.commandline import environment

DEFAULTS = load.built_in().notify
AT = 1_733_000_000.0


def refused(vmid: int, name: str = "", text: str = "its bridge is gone", after: float = 0.0) -> Letter:
    label = f"VM {vmid} ({name})" if name else f"VM {vmid}"
    return Letter("finding", "refused_starts", ERR, f"{label}: {text}", vmid, "", "pve1", AT + after)


def failed(vmid: int, cause: str = "") -> Letter:
    return Letter("start-failed", "failed_starts", ERR, f"VM {vmid}: its start failed", vmid, cause, "pve1", AT)


@pytest.mark.parametrize(
    ("letters", "subject"),
    [
        ([refused(100, "web")], "start refused: VM 100 (web)"),
        ([refused(100)], "start refused: VM 100"),
        ([refused(100, "web"), refused(100, "web", "another reason")], "start refused: VM 100 (web)"),
        ([refused(vmid) for vmid in (100, 101, 102, 107)], "starts refused: VM 100-102, 107"),
        ([refused(100, "web")._replace(event="start-unexamined")], "start not examined: VM 100 (web)"),
        ([refused(100)._replace(event="device-not-bound")], "device not bound: VM 100"),
        ([failed(102), refused(100, "web")], "start refused: VM 100 (web); start failed: VM 102"),
        ([Letter("bug", "errors", ERR, "bug: x", 0, "", "pve1", AT)], "error of pvehooks"),
        ([Letter("bug", "errors", ERR, f"bug: {number}", 0, "", "pve1", AT) for number in range(3)], "3 errors of pvehooks"),
    ],
)
def test_the_subject_has_what_happened_to_which_vms(letters: list[Letter], subject: str) -> None:
    assert compose(letters).subject == f"pvehooks on pve1: {subject}"


def test_the_text() -> None:
    with environment():
        message = compose([refused(101, after=65.0), refused(100, "web"), refused(101), failed(102)])
    assert (
        message.text
        == """\
pvehooks on pve1: starts refused: VM 100, 101; start failed: VM 102

Starts refused: VM 100, 101
  20:53:20  VM 100 (web): its bridge is gone
  20:53:20 to 20:54:25, 2 times  VM 101: its bridge is gone

Start failed: VM 102
  20:53:20  VM 102: its start failed

More: journalctl -t pvehooksd -t pvehooks-guard -t pvehooks --since "2024-11-30 20:53:20"
What messages are sent about: [notify] in /etc/pvehooks/pvehooks.conf, see pvehooks.conf(5)
"""
    )


def test_a_storm_is_one_message_of_bounded_length() -> None:
    message = compose([refused(vmid, "x" * 60, "y" * 4000) for vmid in range(100, 300)], left_out=17)
    assert message.text.count("VM ") < 150
    assert "157 more events are in the journal alone. More: journalctl" in message.text
    assert len(message.subject) < 200
    assert len(message.text) < 300_000


@pytest.mark.parametrize(("priorities", "severity"), [([ERR, INFO], "error"), ([WARNING, INFO], "warning"), ([INFO], "info")])
def test_the_severity_is_that_of_the_worst(priorities: list[int], severity: str) -> None:
    assert compose([refused(100)._replace(priority=priority) for priority in priorities]).severity == severity


def test_a_matcher_can_match_the_kind() -> None:
    assert compose([refused(100)]).fields == {"type": "pvehooks", "hostname": "pve1", "event": "refused_starts"}
    assert compose([refused(100), failed(101)]).fields["event"] == "several"


# -- what is sent -----------------------------------------------------------------------------------------------------


def test_each_option_switches_its_own_kind() -> None:
    switches = [option for option in NotifySettings._fields if option != "per_hour"]
    on = DEFAULTS._replace(digest=True)
    assert set(switches) <= set(WORDS)
    assert set(WORDS) - set(switches) - {TEST} <= set(KINDS)
    for option in switches:
        letter = refused(100)._replace(option=option)
        off = NotifySettings._make(
            ("off" if option == "failed_starts" else False) if field == option else value for field, value in on._asdict().items()
        )
        assert is_wanted(letter, on), option
        assert not is_wanted(letter, off), option


def test_each_kind_of_event_names_an_option() -> None:
    named = {kind.notify for kind in KINDS.values() if kind.notify}
    assert named <= set(NotifySettings._fields) - {"per_hour"}


@pytest.mark.parametrize(
    ("cause", "sent_of"),
    [
        ("bridge-not-there", {"node", "all"}),
        ("", {"node", "all"}),
        ("no-cause-of-this-version", {"node", "all"}),
        ("hookscript-not-usable", {"node", "all"}),
        ("vm-locked", {"all"}),
        ("id-taken", {"all"}),
        # The guard has left it, with its reason.
        ("guard-refused", set()),
    ],
)
def test_failed_starts_by_their_cause(cause: str, sent_of: set[str]) -> None:
    sent = {value for value in ("node", "all", "off") if is_wanted(failed(100, cause), DEFAULTS._replace(failed_starts=value))}
    assert sent == sent_of
    assert cause in ("", "no-cause-of-this-version") or cause in registry.causes()


def test_what_a_newer_daemon_has_left_is_not_sent() -> None:
    assert not is_wanted(refused(100)._replace(option="of-tomorrow"), DEFAULTS)
