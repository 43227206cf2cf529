"""The one safe way to change a config: what each kind of change does where something is in its way, half done, or not as it was judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from pvehooks.actions import backups, transaction
from pvehooks.actions.result import Outcome, Result
from pvehooks.actions.transaction import Change
from pvehooks.actions.writer import FileWriter
from pvehooks.errors import ActionFailed, NodeError
from pvehooks.formats import guestconfig
from pvehooks.host import Host
from pvehooks.values import Attachment, Guest
from tests.actions.kinds import (
    CONFIG,
    GUARD,
    KINDS,
    OURS,
    RECORD,
    RNG,
    STUB,
    Kind,
    Scripted,
    apply,
    change_of,
    guest_of,
    part,
    start,
    text,
    untouched,
    write,
)
from tests.beds.tree import make_fake_tree
from tests.daemon.bed import RNG0, uefi

every_kind = pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(str(make_fake_tree(tmp_path, {CONFIG: uefi(), "var/lib/vz/snippets/": None, "var/lib/vz/efi-firmware/app.fd": "image\n"})))


# -- what is held -----------------------------------------------------------------------------------------------------


@every_kind
@pytest.mark.parametrize("running", [False, True], ids=["stopped", "running"])
@pytest.mark.parametrize(
    ("more", "outcome", "words"),
    [
        ("lock: backup\n", Outcome.LOCKED, "VM is locked (backup)"),
        ("onbot: 1\n", Outcome.LOSSY, "PVE would drop line 11 of its config, 'onbot: 1' (unknown option 'onbot'); fix it first"),
        (
            "\n[PENDING]\nmemory: 4096\n",
            Outcome.DECLINED,
            "it is stopped and other changes are pending (memory), which would be applied as well",
        ),
        (
            "\n[PENDING]\ndelete: cpu\n",
            Outcome.DECLINED,
            "it is stopped and other changes are pending (cpu), which would be applied as well",
        ),
    ],
    ids=["lock", "dropped line", "pending", "pending delete"],
)
def test_held(host: Host, kind: Kind, running: bool, more: str, outcome: Outcome, words: str) -> None:
    """What is pending of other options is applied by PVE along with any change of a stopped guest, and not of a running one."""
    write(host, uefi(more=more))
    if running:
        start(host)
    result = apply(host, kind)
    if running and outcome is Outcome.DECLINED:
        assert result.outcome is Outcome.DONE
        return
    assert (result.outcome, result.words) == (outcome, words)
    assert untouched(host, kind, uefi(more=more))


@every_kind
def test_a_config_that_cannot_be_read_is_left_alone(host: Host, kind: Kind) -> None:
    large = uefi() + "#" * (1 << 20)
    change = change_of(kind, host)
    write(host, large)
    result = transaction.apply(host, guest_of(host), FileWriter(host), change)
    assert (result.outcome, result.words) == (Outcome.DECLINED, "the config is larger than 1 MiB and is not examined")
    assert text(host) == large


# -- pending and live -------------------------------------------------------------------------------------------------


@every_kind
def test_given(host: Host, kind: Kind) -> None:
    result = apply(host, kind)
    assert (result.outcome, result.later, result.undo[:9]) == (Outcome.DONE, False, "pvehooks ")
    assert sorted(text(host).splitlines()) == sorted([*uefi().splitlines(), f"{kind.option}: {kind.value}"])
    assert result.digest == guest_of(host).digest
    assert host.read(result.backup).decode() == uefi()
    assert getattr(part(host, kind), "state", "done") == "done"
    assert transaction.write_record_if_possible(host, guest_of(host), {})


@every_kind
def test_given_while_it_runs(host: Host, kind: Kind) -> None:
    """At its next start, but for the hookscript, which PVE changes at once."""
    start(host)
    result = apply(host, kind)
    later = kind is not GUARD
    assert (result.outcome, result.later) == (Outcome.DONE, later)
    assert (f"[PENDING]\n{kind.option}: {kind.value}\n" in text(host)) == later
    assert guest_of(host).options[kind.option] == kind.value


@every_kind
@pytest.mark.parametrize("running", [False, True], ids=["stopped", "running"])
@pytest.mark.parametrize("pending", ["{option}: {other}", "delete: {option}"], ids=["value", "delete"])
def test_what_is_pending_of_the_option_itself_is_replaced(host: Host, kind: Kind, pending: str, running: bool) -> None:
    """The change is made from the effective value, which it replaces: nothing of it is left to be applied later."""
    write(host, uefi(more=f"{kind.option}: {kind.other}\n\n[PENDING]\n{pending.format(option=kind.option, other=kind.other)}\n"))
    if running:
        start(host)
    wanted = change_of(kind, host).options[kind.option]
    assert apply(host, kind).outcome is Outcome.DONE
    guest = guest_of(host)
    assert guest.config is not None
    assert (guest.options[kind.option], dict(guest.config.pending_delete)) == (wanted, {})
    assert (kind.option in guest.config.pending) == (running and kind is not GUARD)


@every_kind
@pytest.mark.parametrize("live", [True, False], ids=["live", "pending"])
def test_already(host: Host, kind: Kind, live: bool) -> None:
    """Nothing is written, and nothing recorded: it may be somebody else's."""
    change = change_of(kind, host)
    before = uefi(
        more=f"{'' if live else f'{kind.option}: {kind.other}' + chr(10) * 2 + '[PENDING]' + chr(10)}{kind.option}: {kind.value}\n"
    )
    write(host, before)
    start(host)
    result = transaction.apply(host, guest_of(host), FileWriter(host), change)
    assert (result.outcome, result.done, result.digest, result.backup) == (Outcome.ALREADY, True, guest_of(host).digest, "")
    assert isinstance(change, Result) or result.undo == change.undo
    assert untouched(host, kind, before)


@every_kind
def test_what_another_pending_value_hides_is_not_done(host: Host, kind: Kind) -> None:
    """The live value is right, the next start would use another one."""

    def hidden(guest: Guest, options: object) -> None:
        write(host, uefi(more=f"{kind.option}: {kind.value}\n\n[PENDING]\n{kind.option}: {kind.other}\n"))

    start(host)
    result = apply(host, kind, Scripted(act=hidden))
    assert (result.outcome, result.done) == (Outcome.NOT_VERIFIED, False)
    assert result.words == f"VM 100 (web): {kind.option} was changed, but the config does not show it"


@every_kind
@pytest.mark.parametrize("running", [False, True], ids=["stopped", "running"])
def test_deleted(host: Host, kind: Kind, running: bool) -> None:
    """What is only pending is taken back; what a running guest uses, a tree cannot have deleted later."""
    before = uefi(more=f"\n[PENDING]\n{kind.option}: {kind.value}\n") if running else uefi(more=f"{kind.option}: {kind.value}\n")
    write(host, before)
    if running:
        start(host)
    result = transaction.apply(host, guest_of(host), FileWriter(host), Change({kind.option: None}))
    assert (result.outcome, result.later, text(host)) == (Outcome.DONE, False, uefi())
    again = transaction.apply(host, guest_of(host), FileWriter(host), Change({kind.option: None}))
    assert again.outcome is Outcome.ALREADY


@every_kind
def test_not_deleted(host: Host, kind: Kind) -> None:
    write(host, uefi(more=f"{kind.option}: {kind.value}\n"))
    result = transaction.apply(host, guest_of(host), Scripted(), Change({kind.option: None}))
    assert result.words == f"VM 100 (web): {kind.option} was changed, but the config does not show it"


# -- as it was judged -------------------------------------------------------------------------------------------------


def gone(host: Host) -> None:
    Path(host.root, CONFIG).unlink()


def unreadable(host: Host) -> None:
    gone(host)
    Path(host.root, CONFIG).mkdir()


@every_kind
@pytest.mark.parametrize(
    ("happens", "outcome", "words"),
    [
        (lambda host: write(host, uefi("other")), Outcome.CHANGED, "the config was changed meanwhile"),
        (start, Outcome.CHANGED, "the VM was started or stopped meanwhile"),
        (gone, Outcome.GONE, "the config cannot be read: No such file or directory"),
        (unreadable, Outcome.WAITING, "the config cannot be read: Is a directory"),
    ],
    ids=["changed", "started", "gone", "unreadable"],
)
def test_not_as_it_was_judged(host: Host, kind: Kind, happens: Callable[[Host], None], outcome: Outcome, words: str) -> None:
    guest, change = guest_of(host), change_of(kind, host)
    happens(host)
    result = transaction.apply(host, guest, FileWriter(host), change)
    assert (result.outcome, result.words, backups.of_guest(host, 100)) == (outcome, words, [])
    assert not Path(host.root, RECORD).exists()


@every_kind
@pytest.mark.parametrize("check", [Outcome.LOSSY, Outcome.LOCKED, Outcome.BROKEN])
def test_the_writer_sees_something_before(host: Host, kind: Kind, check: Outcome) -> None:
    assert apply(host, kind, Scripted(check=check))[:2] == (check, "said before")
    assert untouched(host, kind, uefi())


# -- backup and record ------------------------------------------------------------------------------------------------


@every_kind
def test_no_backup_no_write(host: Host, kind: Kind) -> None:
    make_fake_tree(host.root, {"var/lib/pvehooks": "a file where a directory should be\n"})
    result = apply(host, kind)
    assert (result.outcome, "could not be backed up" in result.words, text(host)) == (Outcome.UNSAVED, True, uefi())


@every_kind
def test_what_the_options_name_cannot_be_made(host: Host, kind: Kind) -> None:
    def fails() -> None:
        raise NodeError("no place for it", hint="Make one.")

    change = change_of(kind, host)._replace(make_files=fails)
    result = transaction.apply(host, guest_of(host), FileWriter(host), change)
    assert result[:2] == (Outcome.BROKEN, "no place for it. Make one")
    assert untouched(host, kind, uefi())


def test_the_stub_is_made_only_where_it_will_be_named(host: Host) -> None:
    stub = Path(host.root, "var/lib/vz/snippets/pvehooks-guard")
    write(host, uefi(more="lock: backup\n"))
    apply(host, GUARD)
    assert not stub.exists()
    write(host, uefi())
    apply(host, GUARD)
    assert stub.exists()


@every_kind
def test_no_record_no_write(host: Host, kind: Kind) -> None:
    """Where the record says beforehand what is to come. The guard's is told from the config at the next look."""
    guest, change = guest_of(host), change_of(kind, host)
    make_fake_tree(host.root, {"etc/pve/pvehooks": "a file where a directory should be\n"})
    assert not transaction.write_record_if_possible(host, guest, {"attachment": Attachment(STUB, "", 1)})
    result = transaction.apply(host, guest, FileWriter(host), change)
    if kind is GUARD:
        assert result.outcome is Outcome.DONE
        return
    assert (result.outcome, "/etc/pve/pvehooks/guests/100.json" in result.words) == (Outcome.WAITING, True)
    assert (text(host), backups.of_guest(host, 100)) == (uefi(), [])


@every_kind
def test_the_record_shows_beforehand_what_is_to_come(host: Host, kind: Kind) -> None:
    """So that a writer that is ended half way leaves word of it."""
    seen = []
    apply(host, kind, Scripted(act=lambda guest, options: seen.append(part(host, kind))))
    assert [getattr(each, "state", None) for each in seen] == [None if kind is GUARD else "writing"]


@every_kind
@pytest.mark.parametrize("outcome", [Outcome.CHANGED, Outcome.LOCKED, Outcome.WAITING, Outcome.REFUSED, Outcome.LOSSY, Outcome.GONE])
def test_the_writer_does_nothing(host: Host, kind: Kind, outcome: Outcome) -> None:
    """The record is as it was before, but for a guest that is gone: its record is another node's by now."""
    apply(host, kind)
    earlier = part(host, kind)
    write(host, uefi())
    assert apply(host, kind, Scripted(outcome))[:2] == (outcome, "said by the writer")
    assert text(host) == uefi()
    assert len(backups.of_guest(host, 100)) == 1, "the same config was kept before"
    if outcome is Outcome.GONE and kind is not GUARD:
        assert part(host, kind).state == "writing"
    else:
        assert part(host, kind) == earlier
    write(host, uefi("new"))
    apply(host, kind, Scripted(outcome))
    assert len(backups.of_guest(host, 100)) == 1, "of what was not changed none is kept"


@every_kind
@pytest.mark.parametrize("happens", [gone, unreadable])
def test_refused_and_not_to_be_read_any_more(host: Host, kind: Kind, happens: Callable[[Host], None]) -> None:
    """Whether PVE wrote before it refused cannot be seen then: its words are the answer, and nothing of ours stays."""
    result = apply(host, kind, Scripted(Outcome.REFUSED, lambda guest, options: happens(host)))
    assert result == Result(Outcome.REFUSED, "said by the writer")
    assert backups.of_guest(host, 100) == []


# -- the answer and the config ----------------------------------------------------------------------------------------


def by_itself(host: Host) -> Callable[[Guest, Mapping[str, str | None]], object]:
    return FileWriter(host).write


@every_kind
def test_a_lost_answer(host: Host, kind: Kind) -> None:
    """Killed or silenced after its write: what counts is the config."""
    result = apply(host, kind, Scripted(Outcome.BROKEN, by_itself(host)))
    assert (result.outcome, result.digest) == (Outcome.DONE, guest_of(host).digest)
    assert getattr(part(host, kind), "state", "done") == "done"


@every_kind
def test_a_lost_answer_to_a_delete(host: Host, kind: Kind) -> None:
    write(host, uefi(more=f"{kind.option}: {kind.value}\n"))
    result = transaction.apply(host, guest_of(host), Scripted(Outcome.BROKEN, by_itself(host)), Change({kind.option: None}))
    assert (result.outcome, text(host)) == (Outcome.DONE, uefi())


@every_kind
@pytest.mark.parametrize("happens", [lambda host: None, gone], ids=["nothing", "gone"])
def test_no_usable_answer(host: Host, kind: Kind, happens: Callable[[Host], None]) -> None:
    """Nobody knows what comes yet: the record says that something was begun, and the backup stays."""
    result = apply(host, kind, Scripted(Outcome.BROKEN, lambda guest, options: happens(host)))
    assert result[:2] == (Outcome.BROKEN, "said by the writer")
    assert len(backups.of_guest(host, 100)) == 1
    write(host, uefi()) if not Path(host.root, CONFIG).exists() else None
    assert getattr(part(host, kind), "state", None) == (None if kind is GUARD else "writing")


@every_kind
def test_done_and_not_there(host: Host, kind: Kind) -> None:
    """The record does not say done of what the config does not show."""
    result = apply(host, kind, Scripted())
    (backup,) = backups.of_guest(host, 100)
    assert (result.outcome, result.backup) == (Outcome.NOT_VERIFIED, backup.path)
    assert result.words == f"VM 100 (web): {kind.option} was changed, but the config does not show it"
    assert result.hint == f"Compare with the backup: pvehooks backups 100 --diff {backup.digest[:8]} ({backup.path})"
    assert getattr(part(host, kind), "state", None) == (None if kind is GUARD else "writing")
    with pytest.raises(ActionFailed) as caught:
        result.verified()
    assert (caught.value.message, caught.value.hint) == (result.words, result.hint)


@every_kind
def test_done_and_something_else_with_it(host: Host, kind: Kind) -> None:
    """The record says done: the option is there."""

    def more(guest: Guest, options: Mapping[str, str | None]) -> None:
        FileWriter(host).write(guest, options)
        write(host, text(host).replace("memory: 2048", "memory: 4096"))

    result = apply(host, kind, Scripted(act=more))
    why = "but something else changed at the same moment, by another process or by the rewriting: memory"
    assert (result.outcome, result.words) == (Outcome.NOT_VERIFIED, f"VM 100 (web): {kind.option} was changed, {why}")
    assert getattr(part(host, kind), "state", "done") == "done"


@every_kind
def test_done_and_cannot_be_read_back(host: Host, kind: Kind) -> None:
    result = apply(host, kind, Scripted(act=lambda guest, options: unreadable(host)))
    why = "but the config cannot be read back: Is a directory"
    assert (result.outcome, result.words) == (Outcome.NOT_VERIFIED, f"VM 100 (web): {kind.option} was changed, {why}")


def no_pmxcfs(host: Host) -> None:
    Path(host.root, "etc/pve").rename(Path(host.root, "etc/pve-away"))


def elsewhere(host: Host) -> None:
    other = Path(host.root, CONFIG.replace("pve1", "pve2"))
    other.parent.mkdir(parents=True)
    Path(host.root, CONFIG).rename(other)


@every_kind
@pytest.mark.parametrize("happens", [gone, lambda host: write(host, "lock: destroyed\n")], ids=["gone", "lock: destroyed"])
def test_destroyed_meanwhile(host: Host, kind: Kind, happens: Callable[[Host], None]) -> None:
    """`qm create` and `qm destroy` within a second: nothing is wrong, and no backup of it is left."""
    result = apply(host, kind, Scripted(act=lambda guest, options: happens(host)))
    assert result[:2] == (Outcome.GONE, "it was destroyed meanwhile")
    assert backups.of_guest(host, 100) == []


@every_kind
@pytest.mark.parametrize("happens", [no_pmxcfs, elsewhere])
def test_not_there_and_not_destroyed(host: Host, kind: Kind, happens: Callable[[Host], None]) -> None:
    result = apply(host, kind, Scripted(act=lambda guest, options: happens(host)))
    assert result.outcome is Outcome.NOT_VERIFIED and len(backups.of_guest(host, 100)) == 1


# -- several in one write ---------------------------------------------------------------------------------------------


def test_all_kinds_in_one_write(host: Host) -> None:
    written = []

    def act(guest: Guest, options: Mapping[str, str | None]) -> None:
        written.append(dict(options))
        FileWriter(host).write(guest, options)

    guest = guest_of(host)
    result = transaction.apply(host, guest, Scripted(act=act), *(kind.of(host, guest) for kind in KINDS))
    assert written == [{kind.option: kind.value for kind in KINDS}]
    assert (result.outcome, result.undo) == (Outcome.DONE, "pvehooks undo 100; pvehooks detach 100; pvehooks firmware unset 100")
    assert all(part(host, kind) is not None for kind in KINDS)
    assert len(backups.of_guest(host, 100)) == 1


def test_some_set_and_some_deleted_in_one_write(host: Host) -> None:
    """What is so already is not written again; all of it is named where it went wrong."""
    write(host, uefi(more=f"args: {OURS}\n{RNG0}"))
    changes = Change({"args": None}), change_of(RNG, host), change_of(GUARD, host)
    result = transaction.apply(host, guest_of(host), Scripted(), *changes)
    assert result.words == "VM 100 (web): args and hookscript were changed, but the config does not show it"
    result = transaction.apply(host, guest_of(host), FileWriter(host), *changes)
    assert result.outcome is Outcome.DONE
    assert sorted(text(host).splitlines()) == sorted([*uefi().splitlines(), RNG0.rstrip(), f"hookscript: {STUB}"])


def test_one_that_cannot_be_made_leaves_the_others(host: Host) -> None:
    no = Result(Outcome.DECLINED, "why not")
    assert transaction.apply(host, guest_of(host), FileWriter(host), change_of(RNG, host), no) == no
    assert untouched(host, RNG, uefi())


def test_an_effect_that_is_not_what_is_written(host: Host) -> None:
    """PVE sorts tags."""
    tags = Change({"tags": "b;a"}, effect={"tags": "a;b"})
    sorts = Scripted(act=lambda guest, options: write(host, uefi(more="tags: a;b\n")))
    assert transaction.apply(host, guest_of(host), Scripted(), tags).outcome is Outcome.NOT_VERIFIED
    assert transaction.apply(host, guest_of(host), sorts, tags).outcome is Outcome.DONE
    assert transaction.apply(host, guest_of(host), sorts, tags).outcome is Outcome.ALREADY


def test_an_option_that_cannot_be_read_back(host: Host) -> None:
    """PVE's word for it has to do; no word is not enough, unless what was written with it is there."""
    new = Change({"efi-firmware": "local:efi-firmware/app.fd"}, effect={})
    assert transaction.apply(host, guest_of(host), Scripted(), new).outcome is Outcome.DONE
    assert transaction.apply(host, guest_of(host), Scripted(Outcome.BROKEN), new).outcome is Outcome.BROKEN

    def both(guest: Guest, options: Mapping[str, str | None]) -> None:
        assert options.keys() == {"efi-firmware", "rng0"}
        FileWriter(host).write(guest, {"rng0": options["rng0"]})

    result = transaction.apply(host, guest_of(host), Scripted(Outcome.BROKEN, both), new, change_of(RNG, host))
    assert result.outcome is Outcome.DONE


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        ("memory: 512\n", "memory: 512\nrng0: /dev/urandom\n", []),
        ("memory: 512\n", "memory: 1024\n", ["memory"]),
        ("# a  \nmemory: 512\n", "# a\nmemory: 512\n", []),
        ("memory: 512\n\n[PENDING]\nmemory: 1024\n", "memory: 512\n", ["[PENDING] memory"]),
        ("memory: 512\n\n[PENDING]\ndelete: cores\n", "memory: 512\n", ["[PENDING] delete cores"]),
        ("memory: 512\n\n[s1]\nmemory: 1024\n", "memory: 512\n", ["[s1] memory"]),
        ("memory: 512\n\n[s1]\nrng0: /dev/urandom\n", "memory: 512\n\n[s1]\nmemory: 512\n", ["[s1] memory", "[s1] rng0"]),
        ("memory: 512\n\n[special:cloudinit]\nname: a\n", "memory: 512\n\n[special:cloudinit]\nname: b\n", ["[special:cloudinit] name"]),
    ],
)
def test_differences(before: str, after: str, found: list[str]) -> None:
    assert transaction.differences(guestconfig.parse(before.encode()), guestconfig.parse(after.encode()), ("rng0",)) == found
