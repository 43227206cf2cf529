"""All kinds of changes in one write, through qm and through Proxmox VE's own code, and taken back in one."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from pvehooks.actions import transaction
from pvehooks.actions.result import Outcome
from pvehooks.actions.transaction import Change
from pvehooks.actions.writer import PveWriter, QmWriter, Writer
from pvehooks.facts.guests import running as running_guests
from pvehooks.host import Host
from tests.actions.kinds import CONFIG, KINDS, guest_of
from tests.beds.process import running_guest
from tests.beds.qm import Qm
from tests.daemon.bed import uefi, wait_until
from tests.hookscript import bed


@pytest.fixture
def qm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Qm]:
    """This machine is the node pve1, with qm on its PATH."""
    with bed.mounts():
        Path("/var/lib/vz/efi-firmware").mkdir()
        Path("/var/lib/vz/efi-firmware/app.fd").write_text("image\n")
        bed.config(uefi())
        qm = Qm(tmp_path / "qm")
        monkeypatch.setenv("PATH", qm.path)
        monkeypatch.setenv("PERL5LIB", qm.perl5lib)
        yield qm
        shutil.rmtree("/var/lib/vz/efi-firmware")


@pytest.mark.parametrize("writer", [QmWriter, PveWriter])
@pytest.mark.parametrize("running", [False, True], ids=["stopped", "running"])
def test_all_kinds_by_one_call(qm: Qm, running: bool, writer: Callable[[Host], Writer]) -> None:
    """And taken back by one: what is live is deleted, what is only pending reverted."""
    host = Host()
    with running_guest(100) if running else nullcontext():
        wait_until(lambda: not running or running_guests.is_running(host, 100), "its command line is there")
        guest = guest_of(host)
        result = transaction.apply(host, guest, writer(host), *(kind.of(host, guest) for kind in KINDS))
        assert (result.outcome, result.later) == (Outcome.DONE, running), result
        values = {kind.option: kind.value for kind in KINDS}
        assert {option: guest_of(host).options[option] for option in values} == values
        back = transaction.apply(host, guest_of(host), writer(host), Change(dict.fromkeys(values)))
    assert (back.outcome, back.later) == (Outcome.DONE, False), back
    given, taken = qm.calls("set")
    assert {option: given.option(option) for option in values} == values
    assert (taken.option("delete"), taken.option("revert")) == (("hookscript", "rng0,args") if running else ("rng0,hookscript,args", None))
    assert len({call.ppid for call in qm.calls()}) == 1
    assert host.read(f"/{CONFIG}").decode() == "".join(sorted(uefi().splitlines(keepends=True)))
