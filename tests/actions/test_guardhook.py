"""Attaching the guard and taking it out again, in a tree."""

from __future__ import annotations

from pathlib import Path

import pytest

from pvehooks.actions import guardhook
from pvehooks.actions.result import Outcome, Result
from pvehooks.derived.attachment import why_not
from pvehooks.errors import ActionFailed
from pvehooks.facts.guests import configs as guests
from pvehooks.formats import guestconfig
from pvehooks.host import Host
from pvehooks.records import baseline
from pvehooks.records import guests as records
from pvehooks.settings import load as settings
from pvehooks.values import Guest
from tests.actions.kinds import Scripted
from tests.beds.tree import make_fake_tree
from tests.daemon.bed import RNG0, uefi

CONFIG = "etc/pve/nodes/pve1/qemu-server/100.conf"
PASSED = "hostpci0: 0000:01:00.0,pcie=1\n"
STUB = "local:snippets/pvehooks-guard"
FORMER = "local:snippets/hook.pl"
CHAINED = "local:snippets/pvehooks-guard-local+hook.pl"


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(str(make_fake_tree(tmp_path, {CONFIG: uefi(more=PASSED), "var/lib/vz/": None})))


def guest_of(host: Host) -> Guest:
    return guests.read(host, "pve1", 100, guests.gather_context(host, "pve1", baseline.read(host, "pve1")))


def write(host: Host, text: str) -> None:
    Path(host.root, CONFIG).write_text(text)


def text(host: Host) -> str:
    return Path(host.root, CONFIG).read_text()


def do_attach(host: Host, with_rng0: bool = False) -> Result:
    return guardhook.attach(host, guest_of(host), settings.load(host).rng(100), with_rng0)


def do_detach(host: Host) -> Result:
    return guardhook.detach(host, guest_of(host), settings.load(host).rng(100))


def test_one_line_and_nothing_else(host: Host) -> None:
    before = text(host)
    result = do_attach(host)
    assert (result.done, result.volid, result.value, result.later) == (True, STUB, "", False)
    assert text(host).replace(f"hookscript: {STUB}\n", "") == before
    assert host.read(result.backup).decode() == before
    attachment = guest_of(host).attachment
    assert attachment is not None
    assert attachment[:2] == (STUB, "")
    assert host.owner_and_mode("/var/lib/vz/snippets/pvehooks-guard")[1] & 0o7777 == 0o755
    assert do_detach(host).done
    assert text(host) == before
    # What a person takes out is remembered as that.
    assert guest_of(host).attachment == attachment


def test_a_former_hookscript_is_kept_and_put_back(host: Host) -> None:
    write(host, uefi(more=PASSED + f"hookscript: {FORMER}\n\n[snap]\nhookscript: {FORMER}\nsnaptime: 1\n"))
    before = guestconfig.parse(text(host).encode())
    assert do_attach(host).volid == CHAINED
    after = guestconfig.parse(text(host).encode())
    assert dict(after.main) == dict(before.main) | {"hookscript": CHAINED}
    assert after.snapshots == before.snapshots
    attachment = guest_of(host).attachment
    assert attachment is not None
    assert attachment.former == FORMER
    assert do_detach(host).volid == FORMER
    assert guestconfig.parse(text(host).encode()).main == before.main


def test_together_with_the_rng0(host: Host) -> None:
    before = text(host)
    result = do_attach(host, with_rng0=True)
    assert (result.done, result.volid) == (True, STUB)
    assert f"rng0: {result.value}\n" == RNG0
    assert sorted(text(host).splitlines()) == sorted([*before.splitlines(), RNG0.rstrip(), f"hookscript: {STUB}"])
    guest = guest_of(host)
    assert guest.attachment is not None
    assert guest.recorded_rng is not None
    assert len(list(Path(host.root, "var/lib/pvehooks/backups").iterdir())) == 1


def test_to_attach_is_no_edit_of_a_persons(host: Host) -> None:
    for own in ("", f"hookscript: {FORMER}\n"):
        write(host, uefi(more=PASSED + own))
        before = baseline.fingerprint(guestconfig.parse(text(host).encode()))
        assert do_attach(host).done
        assert baseline.fingerprint(guestconfig.parse(text(host).encode())) == before
    write(host, text(host).replace(CHAINED, "local:snippets/other.pl"))
    assert baseline.fingerprint(guestconfig.parse(text(host).encode())) != before


@pytest.mark.parametrize(
    ("more", "outcome", "words"),
    [
        (f"hookscript: {STUB}\n", Outcome.ALREADY, f"it has the guard already ({STUB})"),
        (f"hookscript: {CHAINED}\n", Outcome.ALREADY, f"it has the guard already ({CHAINED})"),
        ("hookscript: local:snippets/my hook\n", Outcome.DECLINED, "its own hookscript cannot be run before it: the name of"),
        ("hookscript: local:snippets/pvehooks-guard-x\n", Outcome.DECLINED, "has the name of a hookscript of pvehooks but is not one"),
        (f"hookscript: local:snippets/{'x' * 250}\n", Outcome.DECLINED, "is too long"),
        ("hookscript: local:iso/x\n", Outcome.DECLINED, "is not a snippet"),
        ("lock: backup\n", Outcome.LOCKED, "VM is locked (backup)"),
        ("onbot: 1\n", Outcome.LOSSY, "PVE would drop line 12 of its config, 'onbot: 1'"),
        ("\n[PENDING]\nmemory: 4096\n", Outcome.DECLINED, "other changes are pending (memory)"),
    ],
)
def test_not_attached(host: Host, more: str, outcome: Outcome, words: str) -> None:
    write(host, uefi(more=PASSED + more))
    before = text(host)
    result = do_attach(host)
    assert result.outcome is outcome
    assert words in result.words
    assert text(host) == before
    assert guest_of(host).attachment is None


@pytest.mark.parametrize(
    ("more", "words"),
    [("", "it does not have the guard"), (f"hookscript: {FORMER}\n", f"its hookscript is {FORMER}, which is none of the guard's")],
)
def test_not_detached(host: Host, more: str, words: str) -> None:
    write(host, uefi(more=PASSED + more))
    before = text(host)
    result = do_detach(host)
    assert (result.outcome, result.words, text(host)) == (Outcome.DECLINED, words, before)


def test_nowhere_to_put_it(host: Host) -> None:
    """Directories that others may write to are none for a script that root runs."""
    Path(host.root, "var/lib/vz").chmod(0o777)
    result = do_attach(host)
    assert result.outcome is Outcome.BROKEN
    assert "no storage of this node is safe for the guard's hookscript" in result.words
    assert text(host) == uefi(more=PASSED)


def test_changed_meanwhile(host: Host) -> None:
    guest = guest_of(host)
    write(host, uefi("other", PASSED))
    assert guardhook.attach(host, guest, settings.load(host).rng(100)).outcome is Outcome.CHANGED
    assert text(host) == uefi("other", PASSED)


def test_a_clone_is_adopted(host: Host) -> None:
    """It carries the hookscript along, and no record."""
    write(host, uefi(more=PASSED + f"hookscript: {CHAINED}\n"))
    guardhook.adopt(host, guest_of(host))
    attachment = guest_of(host).attachment
    assert attachment is not None
    assert attachment[:2] == (CHAINED, FORMER)
    assert do_detach(host).volid == FORMER


def test_who_has_no_guard_is_not_adopted(host: Host) -> None:
    guardhook.adopt(host, guest_of(host))
    assert records.known_vmids(host) == frozenset()


def test_a_former_hookscript_that_pve_refuses(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """It went meanwhile: the words say how to be without it."""
    write(host, uefi(more=PASSED + f"hookscript: {CHAINED}\n"))
    monkeypatch.setattr(guardhook, "writer", lambda host, settings: Scripted(Outcome.REFUSED))
    result = do_detach(host)
    assert (result.outcome, result.words) == (
        Outcome.REFUSED,
        "said by the writer; without its former hookscript: qm set 100 --delete hookscript",
    )


def test_what_is_not_verified_is_raised(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guardhook, "writer", lambda host, settings: Scripted())
    with pytest.raises(ActionFailed, match="rng0 and hookscript were changed, but the config does not show it"):
        do_attach(host, with_rng0=True)


def test_a_hookscript_that_is_only_pending_is_the_former_one(host: Host) -> None:
    """It is what the next start would run, so nothing of somebody else's is lost; the rule says so too."""
    write(host, uefi(more=f"{PASSED}\n[PENDING]\nhookscript: {FORMER}\n"))
    assert why_not(guest_of(host)) == ("", "")
    assert do_attach(host).volid == CHAINED
    guest = guest_of(host)
    assert guest.config is not None
    assert (guest.config.main["hookscript"], dict(guest.config.pending)) == (CHAINED, {})
