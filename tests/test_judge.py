"""What a start comes to, by who refuses it: Proxmox VE or QEMU, an active guard, or nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from pvehooks import judge
from pvehooks.facts.guests import configs as guests
from pvehooks.host import Host
from pvehooks.rules import catalogue
from pvehooks.rules.engine import GUEST, START
from pvehooks.settings.load import checked
from pvehooks.values import Finding, Refuser, Severity, StartVerdict, Verdict
from tests.beds.tree import make_fake_tree

CONFIG = "etc/pve/nodes/pve1/qemu-server/100.conf"
GUARDED = "hookscript: local:snippets/pvehooks-guard\n"
HARM, FAILS, QUIET = "group-in-use-by-host", "hostpci-device-missing", "memory-short"
OF_AUDIT = "boot-network-first"
UNATTACHED = "the guard is not attached"


def verdict(tmp_path: Path, *rules: str, config: str = GUARDED, conf: str = "", allowed: bool = False) -> Verdict:
    files = {CONFIG: f"name: web\nhostpci0: 0000:01:00.0\n{config}", "etc/pvehooks/pvehooks.conf": conf}
    if allowed:
        record = '{"version": 1, "uuid": null, "ctime": null, "allowance": {"reason": "x", "by": "eve", "when": 1}}'
        files["etc/pve/pvehooks/guests/100.json"] = record
    host = Host(str(make_fake_tree(tmp_path, files)))
    guest = guests.read(host, "pve1", 100, guests.surroundings(host, "pve1", None))
    found = [catalogue.RULES[rule].complete(Finding("hostpci0", "it is so"), 100) for rule in rules]
    return judge.judge(guest, found, checked(host, catalogue.RULES))


@pytest.mark.parametrize(
    ("rules", "more", "start", "unguarded"),
    [
        pytest.param([], {}, StartVerdict.WOULD, "", id="nothing"),
        pytest.param([QUIET], {}, StartVerdict.WOULD, "", id="a warning"),
        pytest.param([FAILS], {}, StartVerdict.WOULD_NOT, "", id="PVE refuses"),
        pytest.param([FAILS], {"config": ""}, StartVerdict.WOULD_NOT, "", id="PVE refuses without a guard, too"),
        pytest.param([HARM], {}, StartVerdict.WOULD_NOT, "", id="the guard refuses"),
        pytest.param([HARM], {"config": ""}, StartVerdict.MUST_NOT, UNATTACHED, id="no guard"),
        pytest.param([HARM, FAILS], {"config": ""}, StartVerdict.MUST_NOT, UNATTACHED, id="devices go before QEMU fails"),
        pytest.param([HARM, FAILS], {}, StartVerdict.WOULD_NOT, "", id="both refuse"),
        *(
            case
            for rule in ("firmware-changed", "firmware-args-edited")
            for case in (
                pytest.param([rule], {}, StartVerdict.WOULD_NOT, "", id=f"{rule}: the guard refuses"),
                pytest.param([rule], {"config": ""}, StartVerdict.MUST_NOT, UNATTACHED, id=f"{rule}: QEMU would run it"),
            )
        ),
        pytest.param(
            ["firmware-changed"],
            {"conf": "[firmware]\non_change = warning\n", "config": ""},
            StartVerdict.WOULD,
            "",
            id="a changed image is a warning",
        ),
        pytest.param([HARM], {"conf": "[guard]\nmode = audit\n"}, StartVerdict.MUST_NOT, "[guard] mode = audit", id="audit"),
        pytest.param([HARM], {"conf": "[guard]\nmode = off\n"}, StartVerdict.MUST_NOT, "[guard] mode = off", id="off"),
        pytest.param([HARM], {"conf": "[guard]\nattach = off\n"}, StartVerdict.WOULD_NOT, "", id="attached before attach = off"),
        pytest.param(
            [HARM], {"conf": "[guard]\nattach = off\n", "config": ""}, StartVerdict.MUST_NOT, UNATTACHED, id="not attached, attach = off"
        ),
        pytest.param([HARM], {"allowed": True}, StartVerdict.MUST_NOT, "eve allowed the next start", id="allowed"),
        pytest.param([HARM], {"conf": f"[guest 100]\nignore = {HARM}: spare\n", "config": ""}, StartVerdict.WOULD, "", id="ignored"),
        pytest.param([HARM], {"conf": f"[rules]\n{HARM} = warning\n", "config": ""}, StartVerdict.WOULD, "", id="lowered"),
        pytest.param([QUIET], {"conf": f"[rules]\n{QUIET} = block\n"}, StartVerdict.WOULD_NOT, "", id="raised: the guard refuses"),
        pytest.param(
            [QUIET], {"conf": f"[rules]\n{QUIET} = block\n", "config": ""}, StartVerdict.MUST_NOT, UNATTACHED, id="raised, no guard"
        ),
        pytest.param(
            [OF_AUDIT],
            {"conf": f"[rules]\n{OF_AUDIT} = block\n"},
            StartVerdict.MUST_NOT,
            "the guard does not check this at a start",
            id="raised, and only audits ask the rule",
        ),
    ],
)
def test_start(rules: list[str], more: dict[str, object], start: StartVerdict, unguarded: str, tmp_path: Path) -> None:
    found = verdict(tmp_path, *rules, **more)  # type: ignore[arg-type]
    assert (found.start, found.unguarded) == (start, unguarded)


def test_the_mode_of_another_node_counts_there(tmp_path: Path) -> None:
    host = Host(str(make_fake_tree(tmp_path, {CONFIG: f"hostpci0: 0000:01:00.0\n{GUARDED}"})))
    guest = guests.read(host, "pve1", 100, guests.surroundings(host, "pve1", None))
    found = [catalogue.RULES[HARM].complete(Finding("hostpci0", "it is so"), 100)]
    settings = checked(host, catalogue.RULES)
    assert judge.judge(guest, found, settings).start is StartVerdict.WOULD_NOT
    there = judge.judge(guest, found, settings, mode="audit")
    assert (there.start, there.unguarded) == (StartVerdict.MUST_NOT, "[guard] mode = audit")


def test_who_refuses_is_known_of_each_rule() -> None:
    """What only an audit asks is refused by Proxmox VE or QEMU where it blocks; the guard refuses what the rules of a start find."""
    for rule in catalogue.RULES.values():
        refuser = rule.complete(Finding("x", "y")).refuser
        if rule.severity is Severity.BLOCK:
            assert refuser is (Refuser.GUARD if rule.guard_alone else Refuser.PVE), rule.id
        else:
            assert refuser is (Refuser.GUARD if rule.folder == START else Refuser.NOTHING), rule.id
        assert not rule.guard_alone or rule.folder == START, f"{rule.id}: the guard asks no rule of {rule.folder}/"
        assert rule.folder != GUEST or refuser is not Refuser.GUARD


def test_what_counts() -> None:
    found = [(Severity.BLOCK, True, False), (Severity.INFO, True, False), (Severity.INFO, False, False), (Severity.WARNING, True, True)]
    assert judge.counts_by_severity(found) == {"block": 1, "warning": 0, "info": 1}
