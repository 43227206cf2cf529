"""The block in the node's notes, written by Proxmox VE's own code: only that changes, or nothing does."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from pathlib import Path

import pytest

from pvehooks.actions import node_notes, writer_process
from pvehooks.actions.result import Outcome, Result
from pvehooks.formats.nodenotes import BEGIN, END, encoded, with_block
from pvehooks.host import Host
from tests.beds.namespace import empty
from tests.beds.powercut import Disk
from tests.beds.qm import Qm
from tests.beds.tree import make_fake_tree
from tests.hookscript import bed

CONFIG = "/etc/pve/nodes/pve1/config"
BLOCK = ["", "- VM 100 (ü): 5 %", ""]
MINE = b"## Rack 3, 50 %25%0D\n#\n#%C3%BCber%3A me\nacme: account=default\nwakeonlan: 52:54:00:12:34:56\n"
COPIES = "/var/lib/pvehooks/backups"


def keep(host: Host, block: list[str]) -> Result:
    return node_notes.keep(host, "pve1", block)


@pytest.fixture
def pve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Path]:
    """This machine is the node pve1; its config. The parameter is the release of Proxmox VE."""
    with bed.mounts():
        bed.config("memory: 512\n")
        qm = Qm(tmp_path / "qm", release=getattr(request, "param", "9.2"))
        monkeypatch.setenv("PATH", qm.path)
        monkeypatch.setenv("PERL5LIB", qm.perl5lib)
        empty("/var/lib/pvehooks")
        writer_process.of.cache_clear()
        yield Path(CONFIG)
        writer_process.of(Host()).close()
        writer_process.of.cache_clear()


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(str(make_fake_tree(tmp_path / "node", {CONFIG[1:]: MINE, "var/lib/pvehooks": None})))


@pytest.mark.parametrize(
    "before",
    [None, b"", MINE, b"#0\n", b"#a\nunknown: x\n"],
    ids=["no file", "empty", "notes and options", "what Perl takes for nothing", "an option that it does not know"],
)
def test_written_changed_and_taken_out(pve: Path, before: bytes | None) -> None:
    host = Host()
    if before is not None:
        pve.write_bytes(before)
    for block in (BLOCK, BLOCK, ["other"], []):
        result = keep(host, block)
        assert result.words == "" and result.outcome in (Outcome.DONE, Outcome.ALREADY)
        assert (pve.read_bytes() if pve.exists() else b"") == with_block(before or b"", block)
    assert pve.exists() == bool(before)
    assert host.names(COPIES) == [] and not host.exists(node_notes.WRITTEN)


@pytest.mark.parametrize(
    "before",
    [
        b"#two blanks  \n",
        b"wakeonlan: x\nacme: y\n",
        b"startall-onboot-delay: 999\n",
        b"no option\n",
        b"description: old\n",
        b"#\xff\n",
        b"#%FF\n",
        b"#a:\n",
        b"#a",
    ],
)
def test_what_proxmox_ve_would_write_otherwise_holds_it(pve: Path, before: bytes) -> None:
    pve.write_bytes(before)
    result = keep(Host(), BLOCK)
    assert result.outcome is Outcome.LOSSY
    assert result.words.startswith(f"Proxmox VE would write more of {CONFIG} anew")
    assert pve.read_bytes() == before and Host().names(COPIES) == []


@pytest.mark.parametrize("pve", ["8.2"], indirect=True)
def test_a_percent_sign_that_it_leaves_as_it_is(pve: Path) -> None:
    """Before pve-common 8.2.2: the block is as it should be, and is not written again and again."""
    mine = MINE.replace(b"%25", b"%")
    pve.write_bytes(mine)
    for block in (BLOCK, ["7 %"]):
        assert keep(Host(), block) == Result(Outcome.DONE, "")
        written = with_block(mine, block).replace(b" %25\n", b" %\n")
        assert pve.read_bytes() == written
        assert keep(Host(), block) == Result(Outcome.ALREADY, "") and pve.read_bytes() == written
    assert keep(Host(), []).done and pve.read_bytes() == mine
    assert Host().names(COPIES) == []
    pve.write_bytes(MINE)
    assert keep(Host(), BLOCK).outcome is Outcome.LOSSY and pve.read_bytes() == MINE


def test_changed_meanwhile(pve: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pve.write_bytes(MINE)
    edited = MINE.replace(b"Rack 3", b"Rack 4")
    ask = writer_process.WriterProcess.ask

    def late(self: writer_process.WriterProcess, do: str, vmid: int, **more: object) -> writer_process.Answer:
        pve.write_bytes(edited)
        return ask(self, do, vmid, **more)

    with monkeypatch.context() as patched:
        patched.setattr(writer_process.WriterProcess, "ask", late)
        result = keep(Host(), BLOCK)
    assert result.outcome is Outcome.CHANGED and pve.read_bytes() == edited and Host().names(COPIES) == []
    assert keep(Host(), BLOCK).outcome is Outcome.DONE and pve.read_bytes() == with_block(edited, BLOCK)


def test_what_is_not_as_it_should_be_is_reported_with_a_copy(pve: Path, tmp_path: Path) -> None:
    pve.write_bytes(MINE)
    module = tmp_path / "qm/perl5/PVE/NodeConfig.pm"
    module.write_text(
        module.read_text().replace("my $raw = write_node_config($conf);", "delete $conf->{acme}; my $raw = write_node_config($conf);")
    )
    result = keep(Host(), BLOCK)
    (copy,) = Host().names(COPIES)
    assert (result.outcome, Path(COPIES, copy).read_bytes()) == (Outcome.NOT_VERIFIED, MINE)
    assert result.words == f"{CONFIG} is not as expected after it was written; as it was before: {COPIES}/{copy}"


def test_a_held_lock(pve: Path) -> None:
    """Any user can hold it: it is not waited for."""
    pve.write_bytes(MINE)
    with Path("/var/lock/pvenode.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        result = keep(Host(), BLOCK)
    assert (result.outcome, pve.read_bytes()) == (Outcome.WAITING, MINE)
    assert result.words == "Proxmox VE did not write the node's notes: another process holds /var/lock/pvenode.lock"
    assert keep(Host(), BLOCK).outcome is Outcome.DONE


def test_code_that_cannot_be_loaded(pve: Path, tmp_path: Path) -> None:
    pve.write_bytes(MINE)
    (tmp_path / "qm/perl5/PVE/API2/NodeConfig.pm").write_text("die qq{broken\\n};\n")
    result = keep(Host(), BLOCK)
    assert result.outcome is Outcome.WAITING and result.words.startswith("Proxmox VE did not write the node's notes: broken")
    assert pve.read_bytes() == MINE


# -- a person edits ---------------------------------------------------------------------------------------------------


def test_what_is_taken_out_by_hand_stays_out_until_it_is_switched(host: Host) -> None:
    file = Path(host.root, CONFIG[1:])
    assert keep(host, BLOCK).done
    file.write_bytes(MINE)
    result = keep(host, BLOCK)
    assert result.words == "it was taken out of the node's notes by hand; to have it again, [gui] node_notes = off, then on"
    assert file.read_bytes() == MINE
    assert keep(host, []).done and keep(host, BLOCK).done and file.read_bytes() == with_block(MINE, BLOCK)


def test_what_is_written_into_the_block_is_overwritten(host: Host) -> None:
    file = Path(host.root, CONFIG[1:])
    keep(host, BLOCK)
    file.write_bytes(file.read_bytes().replace(b"VM 100", b"my VM").replace(b"#%C3%BCber", b"#edited %C3%BCber"))
    assert keep(host, BLOCK).outcome is Outcome.DONE
    assert file.read_bytes() == with_block(MINE.replace(b"#%C3%BCber", b"#edited %C3%BCber"), BLOCK)


@pytest.mark.parametrize("mark", [BEGIN, END])
@pytest.mark.parametrize("block", [BLOCK, []], ids=["on", "off"])
def test_edited_marks(host: Host, mark: str, block: list[str]) -> None:
    file = Path(host.root, CONFIG[1:])
    keep(host, BLOCK)
    edited = file.read_bytes().replace(encoded(mark), b"")
    file.write_bytes(edited)
    result = keep(host, block)
    assert result.outcome is Outcome.DECLINED and "its marks in the node's notes were edited" in result.words
    assert file.read_bytes() == edited


def test_notes_that_are_full(host: Host) -> None:
    """Proxmox VE would drop them all."""
    full = b"#" + b"a" * (64 * 1024 - 100) + b"\n"
    file = Path(host.root, CONFIG[1:])
    file.write_bytes(full)
    assert keep(host, BLOCK).words == "the node's notes would be longer than the 64 KiB that Proxmox VE takes"
    assert file.read_bytes() == full


@pytest.mark.parametrize("block", [BLOCK, []], ids=["given", "taken out"])
def test_ended_at_each_step(tmp_path: Path, host: Host, block: list[str]) -> None:
    """The next daemon makes it whole, and takes nothing for a person's doing."""
    if not block:
        keep(host, BLOCK)
    before = host.read(CONFIG)
    disk = Disk(Path(host.root))
    with disk.recorded():
        assert keep(host, block).done
    for count in disk.cuts():
        for then in (BLOCK, []):
            left = Host(str(disk.cut(count, tmp_path / "cut")))
            assert left.read(CONFIG) in (before, with_block(MINE, block)), count
            assert keep(left, then).done, (count, then)
            assert left.read(CONFIG) == with_block(MINE, then)
