"""Asking pve-writer: what it may answer, and that a request that fails takes no other along."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pvehooks.actions import writer, writer_process
from pvehooks.actions.result import Outcome
from pvehooks.actions.writer import PveWriter
from pvehooks.actions.writer_process import Answer, Away, Lost, Unavailable, WriterProcess
from pvehooks.facts.guests import configs as guests
from pvehooks.host import Host
from pvehooks.values import Guest
from tests.beds.qm import Qm
from tests.daemon.bed import PROJECT, RNG0, uefi, wait_until
from tests.hookscript import bed

READY = 'print(\'{"ready": 1, "words": ""}\')'
ANSWER = 'print(json.dumps({"id": json.loads(line)["id"], "outcome": "done", "words": str(os.getpid())}))'
Make = Callable[..., WriterProcess]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """WriterProcess with a Python program in place of pve-writer: what it does first, and for each `line`."""
    made: list[WriterProcess] = []

    def make(each: str = ANSWER, first: str = READY) -> WriterProcess:
        path = tmp_path / "program"
        (tmp_path / "starts").touch()
        started = f"open({str(tmp_path / 'starts')!r}, 'a').write('x')\n"
        loop = "for line in sys.stdin:\n" + "".join(f"    {part}\n" for part in each.split("\n"))
        script = f"#!/usr/bin/python3 -uI\nimport json, os, signal, sys, time\n{started}{first}\n{loop}"
        path.with_suffix(".new").write_text(script)
        path.with_suffix(".new").chmod(0o755)
        path.with_suffix(".new").rename(path)
        made.append(WriterProcess(Host()))
        return made[-1]

    monkeypatch.setattr(writer_process, "_path", lambda _: str(tmp_path / "program"))
    yield make
    for code in made:
        code._drop()


def starts(directory: Path) -> int:
    return len((directory / "starts").read_text())


def test_one_process_for_all(make: Make) -> None:
    code = make()
    assert code.ask("config", 100) == code.ask("update", 101, options={}) != Answer("done", "")


def test_threads_share_it(make: Make, tmp_path: Path) -> None:
    code = make("time.sleep(0.01)\n" + ANSWER)
    threads = [threading.Thread(target=code.ask, args=("config", vmid)) for vmid in range(100, 120)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert starts(tmp_path) == 1


def test_words_of_any_bytes(make: Make) -> None:
    words = "caf\\u00c3\\u00a9 b\\u00ffd \\n \\u0000"
    code = make(f'print(\'{{"id": 1, "outcome": "failed", "words": "{words}", "warnings": ["\\u2603", 5, null]}}\')'.replace("\\", "\\\\"))
    answer = code.ask("config", 100)
    assert (answer.words, answer.warnings) == ("café b\ufffdd \n \0", ("\u2603", "5", ""))


@pytest.mark.parametrize(
    ("each", "trouble"),
    [
        pytest.param("print('rubbish')", "what is no JSON", id="rubbish"),
        pytest.param("os.write(1, bytes(range(256)) + b'\\n')", "what is no JSON", id="bytes"),
        pytest.param("print('[]')", "what is no object", id="a list"),
        pytest.param("print('{}')", "something else", id="no id"),
        pytest.param('print(\'{"id": 99, "outcome": "done"}\')', "something else", id="another's answer"),
        pytest.param('os.write(1, b\'{"id": 1, "outco\'); sys.exit(1)', "ended without an answer", id="half an answer"),
        pytest.param("print('out of memory', file=sys.stderr); os.abort()", "ended without an answer: out of memory", id="dies"),
        pytest.param("time.sleep(60)", "did not answer in time", id="hangs"),
        pytest.param("signal.signal(15, signal.SIG_IGN); time.sleep(60)", "did not answer in time", id="hangs, deaf"),
        pytest.param('os.write(1, b\'{"id": 1, "outco\'); time.sleep(60)', "did not answer in time", id="half an answer, and hangs"),
    ],
)
def test_no_answer(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, each: str, trouble: str) -> None:
    """The request is lost, and the next one is answered by another process."""
    monkeypatch.setattr(writer_process, "REQUEST_SECONDS", 1.0)
    code = make("\n".join((f"if json.loads(line)['vmid'] == 100: {each}", f"else: {ANSWER}")))
    with pytest.raises(Lost, match=trouble):
        code.ask("update", 100)
    assert code.ask("update", 101).outcome == "done"
    assert starts(tmp_path) == 2


@pytest.mark.parametrize(
    ("first", "why"),
    [
        pytest.param(
            "print(json.dumps({'ready': 0, 'words': 'Can\\'t locate PVE.pm\\n at line 3'}))",
            "Can't locate PVE.pm / at line 3",
            id="says why",
        ),
        pytest.param("print('{}')", "no reason was given", id="says nothing"),
        pytest.param("print('rubbish')", "pve-writer answered what is no JSON", id="rubbish"),
        pytest.param("sys.exit('no perl')", "program ended without an answer: no perl", id="ends"),
        pytest.param("time.sleep(60)", "program did not answer in time and was killed", id="hangs"),
    ],
)
def test_it_cannot_be_loaded(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str, why: str) -> None:
    """It is shown once, and not tried again for a while."""
    monkeypatch.setattr(writer_process, "LOADING_SECONDS", 1.0)
    code = make(first=first)
    shown: list[str] = []
    code.report = shown.append
    for _ in range(3):
        with pytest.raises(Unavailable):
            code.ask("config", 100)
    assert (code.trouble, starts(tmp_path), len(shown)) == (why, 1, 1)
    assert shown[0].startswith(f"Proxmox VE's code cannot be loaded into one process for all VMs ({why}): qm is used")
    monkeypatch.setattr(code, "_retry", 0.0)
    make()
    assert code.ask("config", 100).outcome == "done"
    assert code.trouble == ""


def test_there_is_no_program(make: Make, tmp_path: Path) -> None:
    code = make()
    (tmp_path / "program").unlink()
    code.warm()
    with pytest.raises(Unavailable, match="cannot be run: No such file or directory"):
        code.ask("config", 100)


def test_pmxcfs_is_not_there_yet(make: Make) -> None:
    """Neither would qm do anything: it is not used in its place."""
    words = "ipcc_send_rec[1] failed: Connection refused\\nUnable to load access control list: Connection refused\\n"
    code = make(first=f'print(\'{{"ready": 0, "words": "{words}"}}\')'.replace("\\", "\\\\"))
    with pytest.raises(Away, match="Unable to load access control list"):
        code.ask("config", 100)
    assert code.trouble == ""
    make()
    assert code.ask("config", 100).outcome == "done"


def test_upgraded_meanwhile(make: Make, tmp_path: Path) -> None:
    """It is started anew with the new code, and asked again."""
    old = 'print(json.dumps({"id": json.loads(line)["id"], "outcome": "outdated", "words": ""})); sys.exit()'
    code = make(f"if len(open({str(tmp_path / 'starts')!r}).read()) == 1: {old}\nelse: {ANSWER}")
    assert code.ask("update", 100).outcome == "done"
    assert starts(tmp_path) == 2


def test_one_that_is_about_to_end_is_not_asked(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = make()
    first = code.ask("config", 100)
    monkeypatch.setattr(writer_process, "FRESH_SECONDS", 0.0)
    assert code.ask("config", 100) != first
    assert starts(tmp_path) == 2
    wait_until(lambda: code.collect() or not code._leaving, "the other one is collected")


def test_it_is_not_asked_when_it_may_be_ending() -> None:
    idle = re.search(r"IDLE => (\d+);", (PROJECT / "libexec/pve-writer").read_text())
    assert idle and int(idle[1]) > writer_process.FRESH_SECONDS + 1


def test_warm(make: Make, tmp_path: Path) -> None:
    """It is loaded while something else is done, and then asked."""
    code = make()
    for _ in range(3):
        code.warm()
    wait_until(lambda: starts(tmp_path) == 1, "it is started")
    assert code.ask("config", 100).outcome == "done"
    code.warm()
    assert starts(tmp_path) == 1


def test_ended_and_collected(make: Make) -> None:
    code = make()
    pid = int(code.ask("config", 100).words)
    code.end()
    wait_until(lambda: code.collect() or not Path(f"/proc/{pid}").exists(), "it is gone")
    assert code.ask("config", 100).words != str(pid)


# -- the writer -------------------------------------------------------------------------------------------------------


@pytest.fixture
def qm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Qm]:
    """This machine is the node pve1, with stand-ins for qm and for PVE's modules."""
    with bed.mounts():
        bed.config(uefi())
        qm = Qm(tmp_path / "qm", lock_timeout=0.2)
        monkeypatch.setenv("PATH", qm.path)
        monkeypatch.setenv("PERL5LIB", qm.perl5lib)
        yield qm


def guest(host: Host) -> Guest:
    return guests.read(host, "pve1", 100, guests.gather_context(host, "pve1", None))


def text() -> str:
    return Path("/etc/pve/nodes/pve1/qemu-server/100.conf").read_text()


@pytest.mark.parametrize(
    ("do", "details", "outcome", "words"),
    [
        pytest.param(
            "answer", {"stderr": "checksum mismatch (file change by other user?)\n"}, Outcome.CHANGED, "checksum mismatch", id="changed"
        ),
        pytest.param(
            "answer",
            {"stderr": "checksum missmatch (file change by other user?)\n"},
            Outcome.CHANGED,
            "checksum missmatch",
            id="changed, 8.2",
        ),
        pytest.param("answer", {"stderr": "can't lock file '/x' - got timeout\n"}, Outcome.LOCKED, "can't lock file", id="lock"),
        pytest.param(
            "answer", {"stderr": "unable to open file '/etc/pve/x' - Permission denied\n"}, Outcome.WAITING, "unable to", id="no quorum"
        ),
        pytest.param("answer", {"stderr": "400 Parameter verification failed.\nrng0: x\n"}, Outcome.REFUSED, "400 Parameter", id="refused"),
        pytest.param("answer", {"stderr": "internal error\n"}, Outcome.BROKEN, "Proxmox VE's code failed: internal error", id="unheard of"),
        pytest.param("killed", {}, Outcome.BROKEN, "pve-writer ended without an answer", id="dies"),
        pytest.param("garbage", {}, Outcome.BROKEN, "pve-writer answered what is no JSON", id="garbage"),
        pytest.param("hang", {}, Outcome.BROKEN, "pve-writer did not answer in time", id="hangs"),
    ],
)
def test_outcomes(qm: Qm, monkeypatch: pytest.MonkeyPatch, do: str, details: dict[str, str], outcome: Outcome, words: str) -> None:
    monkeypatch.setattr(writer_process, "REQUEST_SECONDS", 2.0)
    host = Host()
    qm.misbehave(do, verb="set", **details)
    each = PveWriter(host)
    assert each.precheck(guest(host)).outcome is Outcome.DONE
    result = each.write(guest(host), {"rng0": "source=/dev/urandom"})
    assert (result.outcome, result.words.startswith(words)) == (outcome, True), result
    assert text() == uefi()
    assert PveWriter(host).precheck(guest(host)).outcome is Outcome.DONE, "the next one is not concerned"
    writer_process.of(host)._drop()


def test_qm_where_it_cannot_be_loaded(qm: Qm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERL5LIB", "/nowhere")
    host = Host()
    each = PveWriter(host)
    assert each.precheck(guest(host)).outcome is Outcome.DONE
    assert each.write(guest(host), {"rng0": RNG0.removeprefix("rng0: ").strip()}).outcome is Outcome.DONE
    assert RNG0 in text()
    assert writer_process.of(host).trouble.startswith("Can't locate PVE/Cluster.pm")
    assert {os.path.basename(call.argv[0]) for call in qm.calls()} == {"config", "set"}


def test_what_is_beyond_ascii(qm: Qm) -> None:
    host = Host()
    each = PveWriter(host)
    each.precheck(guest(host))
    assert each.write(guest(host), {"args": "-name café"}).outcome is Outcome.REFUSED
    assert not qm.calls("set")
    writer_process.of(host)._drop()


def test_lines_that_pve_cannot_read(qm: Qm) -> None:
    bed.config(uefi(more="foo: bar\n"))
    host = Host()
    result = PveWriter(host).precheck(guest(host))
    assert result[:2] == (Outcome.LOSSY, f"{Outcome.LOSSY.value}: vm 100 - unable to parse value of 'foo' - unknown setting 'foo'")
    writer_process.of(host)._drop()


def test_which_writer(tmp_path: Path) -> None:
    settings: Any = SimpleNamespace()
    for wanted, kind in (("auto", "PveWriter"), ("qm", "QmWriter"), ("file", "FileWriter")):
        settings.writer = wanted
        assert type(writer.writer(Host(), settings)).__name__ == kind
        assert type(writer.writer(Host(str(tmp_path)), settings)).__name__ == "FileWriter"
