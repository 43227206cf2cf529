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
from pvehooks.values import Asked, Cure, Finding, Judged, Refuser, Rng0Veto, Severity, StartVerdict, Verdict
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
    guest = guests.read(host, "pve1", 100, guests.gather_context(host, "pve1", None))
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
                pytest.param([rule, FAILS], {"config": ""}, StartVerdict.WOULD_NOT, "", id=f"{rule}: PVE refuses, and nothing runs"),
                pytest.param([rule, FAILS, HARM], {"config": ""}, StartVerdict.MUST_NOT, UNATTACHED, id=f"{rule}: devices go before"),
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
    assert (found.start, found.why_unguarded) == (start, unguarded)


def test_the_mode_of_another_node_counts_there(tmp_path: Path) -> None:
    host = Host(str(make_fake_tree(tmp_path, {CONFIG: f"hostpci0: 0000:01:00.0\n{GUARDED}"})))
    guest = guests.read(host, "pve1", 100, guests.gather_context(host, "pve1", None))
    found = [catalogue.RULES[HARM].complete(Finding("hostpci0", "it is so"), 100)]
    settings = checked(host, catalogue.RULES)
    assert judge.judge(guest, found, settings).start is StartVerdict.WOULD_NOT
    there = judge.judge(guest, found, settings, mode="audit")
    assert (there.start, there.why_unguarded) == (StartVerdict.MUST_NOT, "[guard] mode = audit")


def test_who_refuses_is_known_of_each_rule() -> None:
    """What only an audit asks is refused by Proxmox VE or QEMU where it blocks; the guard refuses what the rules of a start find."""
    for rule in catalogue.RULES.values():
        refuser = rule.complete(Finding("x", "y")).refuser
        if rule.severity is Severity.BLOCK:
            guard = Refuser.GUARD_OF_RUN if rule.harmless_until_run else Refuser.GUARD
            assert refuser is (guard if rule.only_guard_refuses else Refuser.PVE), rule.id
        else:
            assert refuser is (Refuser.GUARD if rule.folder == START else Refuser.NOTHING), rule.id
        assert not rule.only_guard_refuses or rule.folder == START, f"{rule.id}: the guard asks no rule of {rule.folder}/"
        assert not rule.harmless_until_run or rule.only_guard_refuses, f"{rule.id}: where PVE refuses, nothing runs"
        assert rule.folder != GUEST or refuser is not Refuser.GUARD


def test_what_counts() -> None:
    found = [(Severity.BLOCK, True, False), (Severity.INFO, True, False), (Severity.INFO, False, False), (Severity.WARNING, True, True)]
    assert judge.counts_by_severity(found) == {"block": 1, "warning": 0, "info": 1}


# -- what is done -----------------------------------------------------------------------------------------------------

LACKS = Finding("rng0", "it lacks one", "give it one", Severity.WARNING, "rng-missing-netboot", cure=Cure.RNG0)
DESPITE = LACKS._replace(cure=Cure.RNG0_DESPITE_RDRAND)
FOR_ALL = LACKS._replace(rule="rng-missing", cure=Cure.RNG0_FOR_ALL)
IF_ASKED = LACKS._replace(cure=Cure.RNG0_IF_ASKED)
THERE_FIRST = Finding("rng0", "it was there before", "ask for it", Severity.INFO, "existed-before", rng0_veto=Rng0Veto.EXISTING)
UNASKED = THERE_FIRST._replace(message="its config changes", rule="unasked", rng0_veto=Rng0Veto.UNLESS_ASKED_BY_NAME)
NEVER = THERE_FIRST._replace(message="a line would be lost", remedy="fix the line", rule="never", rng0_veto=Rng0Veto.NEVER)
OTHER = Finding("net0", "the bridge is not there", "make it", Severity.WARNING, "bridge-missing")
DUE = (True, None, "it lacks one", "rng-missing-netboot")
NOT_DUE = (False, None, "", "")
INJECT = "[rng]\nexisting = inject\n"


def judged(tmp_path: Path, found: list[Finding], conf: str = "", asked: Asked = Asked.NO, config: str = "name: web\n") -> Verdict:
    host = Host(str(make_fake_tree(tmp_path, {CONFIG: config, "etc/pvehooks/pvehooks.conf": conf})))
    guest = guests.read(host, "pve1", 100, guests.gather_context(host, "pve1", None))
    return judge.judge(guest, found, checked(host, catalogue.RULES), asked)


def kept_by(finding: Finding) -> tuple[bool, Finding, str, str]:
    return False, finding, finding.message, finding.rule


@pytest.mark.parametrize(
    ("found", "conf", "asked", "expected"),
    [
        pytest.param([], "", Asked.NO, NOT_DUE, id="nothing"),
        pytest.param([OTHER], "", Asked.BY_NAME, NOT_DUE, id="it lacks none"),
        pytest.param([LACKS], "", Asked.NO, DUE, id="it lacks one"),
        pytest.param([OTHER, LACKS], "", Asked.NO, DUE, id="among others"),
        pytest.param([DESPITE], "", Asked.NO, NOT_DUE, id="its CPU has RDRAND"),
        pytest.param([DESPITE], "[rng]\nskip_with_rdrand = no\n", Asked.NO, DUE, id="RDRAND does not count"),
        pytest.param([FOR_ALL], "", Asked.ALL, NOT_DUE, id="only those that need one"),
        pytest.param([FOR_ALL], "[rng]\nscope = all\n", Asked.NO, (*DUE[:3], "rng-missing"), id="every one"),
        pytest.param([IF_ASKED], "[rng]\nscope = all\nskip_with_rdrand = no\n", Asked.ALL, NOT_DUE, id="not for all at once"),
        pytest.param([IF_ASKED], "", Asked.BY_NAME, DUE, id="by name"),
        pytest.param([FOR_ALL], "", Asked.BY_NAME, (*DUE[:3], "rng-missing"), id="by name, not needed"),
        pytest.param([LACKS], "[rng]\nmode = warn\n", Asked.NO, (False, None, "[rng] mode = warn", ""), id="warned of only"),
        pytest.param([LACKS], "[rng]\nmode = warn\n", Asked.ALL, DUE, id="asked for all"),
        pytest.param([LACKS], "[rng]\nmode = off\n", Asked.ALL, (False, None, "ignored: [rng] mode = off", ""), id="off, asked for all"),
        pytest.param([LACKS], "[rng]\nmode = off\n", Asked.BY_NAME, DUE, id="off, asked by name"),
        pytest.param(
            [LACKS], "[guest 100]\nignore = rng-missing-netboot: mine\n", Asked.NO, (False, None, "ignored: mine", ""), id="ignored"
        ),
        pytest.param([LACKS], "[guest 100]\nignore = rng-missing-netboot: mine\n", Asked.BY_NAME, DUE, id="ignored, asked by name"),
        pytest.param(
            [FOR_ALL, LACKS],
            "[rng]\nscope = all\n[guest 100]\nignore = rng-missing-netboot: mine\n",
            Asked.NO,
            (*DUE[:3], "rng-missing"),
            id="one of two reasons ignored",
        ),
        pytest.param([THERE_FIRST, LACKS], "", Asked.NO, kept_by(THERE_FIRST), id="there before"),
        pytest.param([THERE_FIRST, LACKS], INJECT, Asked.NO, DUE, id="there before, given too"),
        pytest.param([THERE_FIRST, LACKS], "", Asked.ALL, DUE, id="there before, asked for all"),
        pytest.param([THERE_FIRST, LACKS], "", Asked.BY_NAME, DUE, id="there before, asked by name"),
        pytest.param([UNASKED, LACKS], "", Asked.NO, kept_by(UNASKED), id="unasked"),
        pytest.param([UNASKED, LACKS], INJECT, Asked.ALL, kept_by(UNASKED), id="unasked, asked for all"),
        pytest.param([UNASKED, LACKS], "", Asked.BY_NAME, DUE, id="unasked, asked by name"),
        pytest.param([NEVER, LACKS], INJECT, Asked.NO, kept_by(NEVER), id="never"),
        pytest.param([NEVER, LACKS], INJECT, Asked.BY_NAME, kept_by(NEVER), id="never, asked by name"),
    ],
)
def test_rng0(found: list[Finding], conf: str, asked: Asked, expected: tuple[object, ...], tmp_path: Path) -> None:
    injection = judged(tmp_path, found, conf, asked).rng0_decision
    assert tuple(injection) == expected


@pytest.mark.parametrize(
    ("found", "conf", "shown"),
    [
        pytest.param([THERE_FIRST, OTHER], "", [OTHER], id="held, and nothing to do"),
        pytest.param([THERE_FIRST, LACKS], "", [THERE_FIRST, LACKS], id="held"),
        pytest.param([THERE_FIRST, DESPITE], "", [DESPITE], id="held, and not wanted"),
        pytest.param([THERE_FIRST, LACKS], INJECT, [LACKS], id="not held by the settings"),
        pytest.param([UNASKED, LACKS], INJECT, [UNASKED, LACKS], id="held by something else"),
        pytest.param([NEVER, OTHER], "", [OTHER], id="held for ever, and nothing to do"),
        pytest.param(
            [NEVER, LACKS, OTHER], "", [NEVER, LACKS._replace(remedy="fix the line"), OTHER], id="what is to be fixed first is the remedy"
        ),
    ],
)
def test_what_is_shown(found: list[Finding], conf: str, shown: list[Finding], tmp_path: Path) -> None:
    assert [item.finding for item in judged(tmp_path, found, conf).findings] == shown


GUARD = Finding("hookscript", "the guard is not attached", "attach it", Severity.WARNING, "guard-not-attached", cure=Cure.ATTACH_GUARD)
HELD_GUARD = GUARD._replace(cure=Cure.ATTACH_GUARD_IF_ASKED)
LEAVES = GUARD._replace(cure=Cure.DETACH_GUARD)


@pytest.mark.parametrize(
    ("found", "conf", "reasons"),
    [
        pytest.param([LACKS, THERE_FIRST, OTHER], "[rng]\nmode = off\n", ["[rng] mode = off", "[rng] mode = off", ""], id="no rng0"),
        pytest.param([LACKS, OTHER], "[rng]\nmode = warn\n", ["", ""], id="rng0 is warned of"),
        pytest.param([LACKS, GUARD], "[guard]\nattach = off\n", ["", "[guard] attach = off"], id="no guard"),
        pytest.param([HELD_GUARD, OTHER], "[guard]\nmode = off\n", ["[guard] mode = off", ""], id="the guard does nothing"),
        pytest.param([GUARD], "[guard]\nmode = audit\n", [""], id="the guard warns"),
        pytest.param([LEAVES], "[guard]\nattach = off\n", [""], id="a guard too many"),
        pytest.param(
            [LACKS],
            "[rng]\nmode = off\n[guest 100]\nignore = rng-missing-netboot: mine\n",
            ["mine"],
            id="a person's reason is shown before that of a setting",
        ),
    ],
)
def test_what_settings_turn_off_is_ignored(found: list[Finding], conf: str, reasons: list[str], tmp_path: Path) -> None:
    assert [item.ignored for item in judged(tmp_path, found, conf).findings] == reasons


@pytest.mark.parametrize(
    ("found", "conf", "attach", "detach"),
    [
        ([OTHER], "", False, False),
        ([GUARD, OTHER], "", True, False),
        ([HELD_GUARD], "", False, False),
        ([LEAVES, OTHER], "", False, True),
        ([GUARD, LEAVES], "[guard]\nattach = warn\n", False, False),
        ([GUARD, LEAVES], "[guest 100]\nignore = guard-not-attached: mine\n", False, False),
    ],
)
def test_the_guard_comes_and_goes(found: list[Finding], conf: str, attach: bool, detach: bool, tmp_path: Path) -> None:
    verdict = judged(tmp_path, found, conf)
    assert (verdict.attach, verdict.detach) == (attach, detach)


@pytest.mark.parametrize(
    ("found", "conf", "blocked"),
    [
        ([], "", False),
        ([OTHER], "", False),
        ([OTHER], "[rules]\nbridge-missing = block\n", True),
        ([OTHER], "[rules]\nbridge-missing = block\n[guest 100]\nignore = bridge-missing: mine\n", False),
        ([OTHER._replace(examined=False)], "[rules]\nbridge-missing = block\n", False),
    ],
)
def test_blocked(found: list[Finding], conf: str, blocked: bool, tmp_path: Path) -> None:
    assert judged(tmp_path, found, conf).blocked is blocked


def test_who_is_guarded(tmp_path: Path) -> None:
    for number, (config, mode, guarded) in enumerate(
        [(GUARDED, "enforce", True), (GUARDED, "audit", False), ("cores: 1\n", "enforce", False)]
    ):
        assert judge.guarded(judged(tmp_path / str(number), [], config=config).guest, mode) is guarded


@pytest.mark.parametrize(
    ("severity", "examined", "shown"), [("block", True, True), ("warning", True, True), ("info", True, False), ("info", False, True)]
)
def test_what_asks_for_something_is_shown(severity: str, examined: bool, shown: bool) -> None:
    assert judge.needs_action(Judged(OTHER._replace(severity=Severity(severity), examined=examined), "")) is shown


def test_what_the_guard_binds_is_information() -> None:
    idle = Finding("0000:01:00.0", "not bound", "bind it", Severity.BLOCK, "vfio-not-bound", cure=Cure.BIND)
    assert judge.with_configured_severity(idle, {}, "bind") == idle._replace(
        severity=Severity.INFO, remedy="The guard binds it when the VM starts ([guard] unbound = bind)"
    )
    assert judge.with_configured_severity(idle, {}, "leave") == idle._replace(severity=Severity.WARNING)
