"""What a review found: together where many guests have the same, alone where it is few or refuses a start, and all of it in the journal."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pvehooks import wording
from pvehooks.journal import output
from pvehooks.journal.entries import Entry
from pvehooks.journal.grouping import Grouping, OldGuests
from pvehooks.journal.kind import ERR, INFO, WARNING
from pvehooks.values import Finding, Guest, Severity
from tests.beds.journald import Journald

EXPLANATION = "The guest `is` in a bad way:\nit does not work.\n\nThe second paragraph is long.\n"
RULES = ("rule-a", "rule-b", "rule-c")


def guest(vmid: int) -> Guest:
    return Guest(vmid, "pve1", None, (), False)


def finding(rule: str = "rule-a", severity: Severity = Severity.WARNING, message: str = "it is bad", **more: object) -> Finding:
    return Finding("net0", message, rule=rule, severity=severity)._replace(**more)


def end(*found: tuple[int, Finding], gone: tuple[tuple[int, str], ...] = ()) -> list[Entry]:
    grouping = Grouping("pve1", lambda rule: EXPLANATION)
    for vmid, each in found:
        grouping.appeared(guest(vmid), each, "allow")
    for vmid, rule in gone:
        grouping.gone(guest(vmid), [(rule, "net0")])
    return grouping.flush()


def kinds(logged: list[Entry]) -> list[str]:
    return [str(entry.fields["PVEHOOKS_EVENT"]) for entry in logged]


def test_two_guests_are_logged_one_by_one_and_three_together() -> None:
    two = [(vmid, finding(message=f"{vmid} is bad", remedy=f"Fix it: qm set {vmid} --net0 x")) for vmid in (101, 100)]
    assert [entry.message for entry in end(*two)] == [
        "VM 100: 100 is bad. Fix it: qm set 100 --net0 x",
        "VM 101: 101 is bad. Fix it: qm set 101 --net0 x",
    ]
    (entry,) = end(*two, (107, finding(message="107 is worse", remedy="Fix it: qm set 107 --net0 x")))
    assert entry.message == (
        "VM 100, VM 101, VM 107: The guest is in a bad way: it does not work. Fix it: qm set VMID --net0 x. More: pvehooks explain rule-a"
    )
    assert entry.priority == WARNING and entry.fields["PVEHOOKS_VMID"] == ("100", "101", "107")
    assert str(entry.fields["PVEHOOKS_FINDINGS"]).splitlines()[2] == "VM 107: 107 is worse. Fix it: qm set 107 --net0 x [rule-a]"


def test_three_devices_of_one_guest_are_not_many() -> None:
    found = [(100, finding()._replace(subject=f"net{number}")) for number in range(3)]
    assert kinds(end(*found)) == ["finding"] * 3


def test_where_all_have_the_same_words_these_are_logged() -> None:
    (entry,) = end(*((vmid, finding(remedy=f"Type: a {vmid}" if vmid < 105 else "Type: b")) for vmid in range(100, 107)))
    assert entry.message == "7 VMs (100-106): it is bad. Each in words, with what to type: pvehooks check. More: pvehooks explain rule-a"
    (entry,) = end(*((vmid, finding(message=f"bad {vmid}")) for vmid in range(100, 103)))
    assert entry.message.startswith("VM 100, VM 101, VM 102: The guest is in a bad way")


def test_what_refuses_a_start_stays_alone_and_comes_first() -> None:
    found = [
        (vmid, finding("rule-b", severity)) for vmid in range(100, 110) for severity in (Severity.INFO, Severity.WARNING, Severity.BLOCK)
    ]
    logged = end(*found)
    assert kinds(logged) == ["finding"] * 10 + ["findings", "advice"]
    assert [entry.priority for entry in logged] == [ERR] * 10 + [WARNING, INFO]
    assert [entry.fields["PVEHOOKS_VMID"] for entry in logged[:10]] == [str(vmid) for vmid in range(100, 110)]


def test_more_than_ten_that_will_not_start_are_one_line() -> None:
    """Their bridge or storage is gone."""
    found = [(vmid, finding(severity=Severity.BLOCK, remedy=f"Type: {vmid}")) for vmid in range(100, 111)]
    logged = end(*found, (300, finding("rule-b", Severity.BLOCK)), (301, finding()))
    assert [entry.priority for entry in logged] == [ERR, ERR, WARNING]
    assert kinds(logged) == ["finding", "findings", "finding"]
    assert logged[1].message == "11 VMs (100-110) would not start: it is bad. Type: VMID. More: pvehooks explain rule-a"


def test_advice_is_one_line_for_all_rules() -> None:
    info = [(vmid, finding(rule, Severity.INFO)) for rule, vmids in (("rule-a", (100, 101)), ("rule-b", range(100, 120))) for vmid in vmids]
    unread = [(300, finding("rule-c", Severity.INFO, "not examined: gone", examined=False))]
    (entry,) = end(*info, *unread)
    assert entry.message == (
        "21 VMs (100-119, 300): advice, nothing has to be done: rule-b (20 VMs), rule-a (VM 100, 101), rule-c not examined (VM 300)."
        " In words: pvehooks check. More: pvehooks explain RULE"
    )
    assert entry.fields["PVEHOOKS_RULE"] == ("rule-a", "rule-b", "rule-c")
    assert kinds(end(*info[:2])) == ["finding", "finding"]


def test_gone_together() -> None:
    assert kinds(end(gone=((100, "rule-a"), (101, "rule-a")))) == ["mended", "mended"]
    (entry,) = end(gone=tuple((vmid, "rule-a" if vmid < 104 else "rule-b") for vmid in range(100, 106)))
    assert entry.message == "6 VMs (100-105): no longer: rule-a (4 VMs), rule-b (VM 104, 105)"
    assert "VM 105: no longer: net0 [rule-b]" in str(entry.fields["PVEHOOKS_FINDINGS"])


def test_a_round_forgets_the_one_before() -> None:
    grouping = Grouping("pve1", lambda rule: EXPLANATION)
    grouping.appeared(guest(100), finding(), "allow")
    grouping.gone(guest(100), [("rule-b", "net0")])
    assert kinds(grouping.flush()) == ["finding", "mended"] and grouping.flush() == []


FOUND = st.tuples(
    st.integers(100, 125),
    st.builds(finding, st.sampled_from(RULES), st.sampled_from([*Severity][:3]), st.sampled_from(("bad", "b\nad", "\x1b[1m"))),
)


@given(st.lists(FOUND, max_size=60))
def test_nothing_is_lost(found: list[tuple[int, Finding]]) -> None:
    """Each finding is in one entry, which its guest and its rule lead to."""
    wanted = Counter((str(vmid), each.rule) for vmid, each in found)
    logged: Counter[tuple[str, str]] = Counter()
    for entry in end(*found):
        vmids, rules = entry.fields["PVEHOOKS_VMID"], entry.fields["PVEHOOKS_RULE"]
        if isinstance(vmids, str):
            logged[vmids, str(rules)] += 1
            continue
        for line in str(entry.fields["PVEHOOKS_FINDINGS"]).split("\n"):
            vmid, rule = line.removeprefix("VM ").partition(":")[0], line.rpartition("[")[2].removesuffix("]")
            assert vmid in vmids and rule in ((rules,) if isinstance(rules, str) else rules)
            logged[vmid, rule] += 1
    assert logged == wanted


@given(st.sets(st.integers(100, 160), min_size=1))
def test_ranges_name_each_once(vmids: set[int]) -> None:
    text, _, more = wording.ranges(vmids, 12).partition(" and ")
    named: list[int] = []
    for part in text.split(", "):
        first, _, last = part.partition("-")
        named += range(int(first), int(last or first) + 1)
    assert named == sorted(vmids)[: len(named)]
    assert len(named) + int(more.removesuffix(" more") or 0) == len(vmids)
    assert len(wording.ranges(vmids, 12)) < 120


@pytest.mark.parametrize(
    ("old", "by_name", "words"),
    [
        ((100, 101), (), "2 UEFI VMs from before pvehooks may not boot from network or NVMe, because they lack entropy: VM 100, VM 101."),
        ((100,), (100,), "Not changed automatically. VM 100 gets one only by VMID, see why: pvehooks check 100"),
        (
            (*range(100, 110), 115, 117),
            (105,),
            "because they lack entropy: VM 100-109, 115, 117. Not changed automatically. Give them their rng0:",
        ),
        ((100, 101), (101,), "Give them their rng0: pvehooks inject --all; VM 101 gets one only by VMID, see why: pvehooks check 101"),
    ],
)
def test_guests_from_before_us(old: tuple[int, ...], by_name: tuple[int, ...], words: str) -> None:
    old_guests = OldGuests("pve1")
    for vmid in old:
        old_guests.note(guest(vmid), vmid in by_name)
    (entry,) = old_guests.changed()
    assert words in entry.message and entry.fields["PVEHOOKS_VMID"] == tuple(map(str, old))
    assert old_guests.changed() == []
    for vmid in old[1:]:
        old_guests.forget(vmid)
    assert len(old_guests.changed()) == (len(old) > 1)
    old_guests.forget(old[0])
    assert old_guests.changed() == []


def test_thousands_of_guests_in_a_real_journal() -> None:
    """journald takes all of it: an entry is found by each guest, and holds what is to be said of it."""
    logged = end(*((vmid, finding(message=f"bad: {vmid} {'x' * 200}\x1b")) for vmid in range(1000, 2234)))
    assert [len(entry.fields["PVEHOOKS_VMID"]) for entry in logged] == [500, 500, 234]
    assert logged[0].message.startswith("500 VMs (1000-1499): ")
    with Journald() as journald:
        for entry in logged:
            output.Journal().write(entry)
        (found,) = journald.wait_for("PVEHOOKS_VMID=2233", "PVEHOOKS_RULE=rule-a")
        assert len(journald.entries("PVEHOOKS_EVENT=findings")) == 3
    assert found["PVEHOOKS_VMID"] == [str(vmid) for vmid in range(2000, 2234)]
    assert found["PVEHOOKS_FINDINGS"].splitlines()[-1] == f"VM 2233: bad: 2233 {'x' * 200}\\x1b [rule-a]"
