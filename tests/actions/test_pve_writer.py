"""libexec/pve-writer itself, with stand-ins for PVE's modules: its answers, and that one guest takes no other along."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pvehooks.actions import qm
from pvehooks.actions.result import Outcome
from tests.beds.qm import Qm
from tests.beds.tree import make_fake_tree
from tests.daemon.bed import PROJECT, RNG0, uefi

GUESTS = "etc/pve/nodes/pve1/qemu-server"
RNG = RNG0.removeprefix("rng0: ").strip()
READY = {"ready": 1, "words": ""}


class Writer:
    """The program, and the tree that its stand-ins take for the node."""

    def __init__(self, directory: Path, **settings: Any) -> None:
        self.root = make_fake_tree(
            directory / "root", {f"{GUESTS}/100.conf": uefi(), "var/lib/vz/snippets/": None, "var/lock/qemu-server/": None}
        )
        (self.root / "etc/pve/local").symlink_to("nodes/pve1")
        self.qm = Qm(directory / "qm", root=str(self.root), **settings)
        self.stderr = directory / "stderr"
        self.process = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        with self.stderr.open("ab") as stderr:
            return subprocess.Popen(
                [str(PROJECT / "libexec/pve-writer")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env={**os.environ, "PERL5LIB": self.qm.perl5lib, "LC_ALL": "C"},
                start_new_session=True,
            )

    def line(self) -> dict[str, Any]:
        """Its next line; {} where it has ended."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.endswith(b"\n") or not line
        assert line.isascii()
        answer: dict[str, Any] = json.loads(line) if line else {}
        return answer

    def send(self, raw: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(raw)
        self.process.stdin.flush()

    def ask(self, do: str, vmid: int, **more: Any) -> dict[str, Any]:
        self.send(json.dumps({"id": 7, "do": do, "vmid": vmid, **more}).encode() + b"\n")
        answer = self.line()
        assert answer.get("id", 7) == 7
        return answer

    def update(self, vmid: int = 100, expected: dict[str, Any] | None = None, **options: str) -> dict[str, Any]:
        """The options are set, expecting what it reads now, or what it has read."""
        expected = expected or self.ask("config", vmid)
        known = {"digest": expected["digest"], "live": expected["live"]}
        return self.ask("update", vmid, **known, options=options or {"rng0": RNG}, delete=[], revert=[])

    def config(self, vmid: int = 100) -> Path:
        return self.root / GUESTS / f"{vmid}.conf"

    def pretend(self, module: str, perl: str) -> None:
        """More Perl at the end of a stand-in; it is there when the program is started next."""
        path = Path(self.qm.perl5lib, module)
        path.write_text(path.read_text().removesuffix("1;\n") + perl + "\n1;\n")

    def restart(self) -> None:
        self.close()
        self.process = self.start()
        assert self.line() == READY

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Writer]:
    writer = Writer(tmp_path)
    assert writer.line() == READY
    yield writer
    writer.close()


def test_done(writer: Writer) -> None:
    before = writer.ask("config", 100)
    assert (before["outcome"], before["warnings"], before["words"]) == ("done", [], "")
    assert before["names"] == sorted(line.split(":")[0] for line in uefi().splitlines())
    after = writer.update()
    assert (after["outcome"], after["words"]) == ("done", f"update VM 100: -rng0 {RNG}\n")
    assert RNG0 in writer.config().read_text()
    assert after == {**writer.ask("config", 100), "words": after["words"]}


def test_many_in_one_process(writer: Writer) -> None:
    for vmid in range(101, 121):
        writer.config(vmid).write_text(uefi(f"n{vmid}"))
        assert writer.update(vmid)["outcome"] == "done"
    assert len({call.ppid for call in writer.qm.calls()}) == 1


def test_deleted_and_taken_back(writer: Writer) -> None:
    writer.config().write_text(uefi(more=RNG0 + "\n[PENDING]\ncores: 4\n"))
    known = writer.ask("config", 100)
    answer = writer.ask("update", 100, digest=known["digest"], live=known["live"], options={}, delete=["rng0"], revert=["cores"])
    assert answer["outcome"] == "done"
    assert writer.config().read_text() == "".join(sorted(uefi().splitlines(keepends=True)))


@pytest.mark.parametrize("what", ["digest", "live"])
def test_not_what_was_expected(writer: Writer, what: str) -> None:
    answer = writer.update(expected={**writer.ask("config", 100), what: "0" * 40})
    assert answer["outcome"] == "changed"
    assert writer.config().read_text() == uefi()


def test_changed_in_between(writer: Writer) -> None:
    known = writer.ask("config", 100)
    writer.config().write_text(uefi("other"))
    assert writer.update(expected=known)["outcome"] == "changed"
    assert not writer.qm.calls("set")


@pytest.mark.parametrize(
    ("config", "options", "words"),
    [
        pytest.param("lock: backup\n", {}, "VM is locked (backup)\n", id="locked"),
        pytest.param("", {"rng0": "source=/dev/zero"}, "400 Parameter verification failed.\nrng0: invalid format", id="bad value"),
        pytest.param(
            "", {"hookscript": "local:snippets/nothing"}, "400 Parameter verification failed.\nhookscript: script", id="no script"
        ),
    ],
)
def test_failed(writer: Writer, config: str, options: dict[str, str], words: str) -> None:
    writer.config().write_text(uefi(more=config))
    before = writer.ask("config", 100)
    answer = writer.update(expected=before, **options)
    assert (answer["outcome"], answer["digest"]) == ("failed", before["digest"])
    assert answer["words"].startswith(words)
    assert writer.config().read_text() == uefi(more=config)


def test_no_such_guest(writer: Writer) -> None:
    answer = writer.ask("config", 999)
    assert (answer["outcome"], answer["digest"]) == ("failed", None)
    assert answer["words"] == "Configuration file 'nodes/pve1/qemu-server/999.conf' does not exist\n"


def test_lines_that_pve_cannot_read(writer: Writer) -> None:
    """It warns each time that it is asked, and nothing is written."""
    writer.config().write_text(uefi(more="foo: bar\nBad Line\n"))
    warnings = ["vm 100 - unable to parse value of 'foo' - unknown setting 'foo'", "vm 100 - unable to parse config: Bad Line"]
    assert writer.ask("config", 100)["warnings"] == warnings
    answer = writer.update()
    assert (answer["outcome"], answer["words"], answer["warnings"]) == ("lossy", warnings[0], warnings)
    assert not writer.qm.calls("set")


@pytest.mark.parametrize(
    ("release", "words"),
    [("9.2", "vm 100 - skipping unknown section: 'special:x'"), ("8.2", "vm 100 - unable to parse config: [special:x]")],
)
def test_an_unknown_section(tmp_path: Path, release: str, words: str) -> None:
    """To qemu-server before 8.3.11 its lines belong to the part before it."""
    writer = Writer(tmp_path, release=release)
    assert writer.line() == READY
    config = uefi(more="[special:x]\nacpi: 0\n")
    writer.config().write_text(config)
    assert ("acpi" in writer.ask("config", 100)["names"]) == (release == "8.2")
    answer = writer.update()
    assert (answer["outcome"], answer["words"]) == ("lossy", words)
    assert writer.config().read_text() == config
    writer.close()


@pytest.mark.parametrize(("release", "word"), [("9.2", "mismatch"), ("8.2", "missmatch")])
def test_changed_after_it_has_looked(tmp_path: Path, release: str, word: str) -> None:
    """Proxmox VE itself compares once more, with the lock held."""
    writer = Writer(tmp_path, release=release)
    assert writer.line() == READY
    edit = f"open(my $f, '>>', '{writer.config()}'); print {{$f}} 'acpi: 0'; close($f);"
    writer.pretend("PVE/API2/Qemu.pm", f"my $real = \\&update_vm; no warnings; sub odd {{ {edit} $real->(@_) }} *update_vm = \\&odd;")
    writer.restart()
    answer = writer.update()
    assert (answer["outcome"], answer["words"]) == ("failed", f"checksum {word} (file change by other user?)\n")
    assert qm.situation(answer["words"]) is Outcome.CHANGED
    assert writer.config().read_text() == uefi(more="acpi: 0")
    writer.close()


def test_warnings_are_of_one_request(writer: Writer) -> None:
    writer.config(101).write_text(uefi(more="foo: bar\n"))
    assert writer.ask("config", 101)["warnings"]
    assert writer.ask("config", 100)["warnings"] == []


def test_three_thousand_warnings(writer: Writer) -> None:
    writer.config().write_text(uefi(more="".join(f"bad {number} {'x' * 5000}\n" for number in range(3000))))
    warnings = writer.ask("config", 100)["warnings"]
    assert (len(warnings), warnings[-1], max(map(len, warnings))) == (1001, "2000 more warnings", 1000)


def test_words_of_any_bytes_are_one_line(writer: Writer) -> None:
    writer.config().write_bytes(uefi(more="").encode() + b'b\xffad \xe2\x98\x83 \r \x00 "line\\\n')
    (warning,) = writer.ask("config", 100)["warnings"]
    assert warning.encode("latin-1") == b'vm 100 - unable to parse config: b\xffad \xe2\x98\x83 \r \x00 "line\\'


def test_a_held_lock_is_not_waited_for(writer: Writer) -> None:
    with (writer.root / "var/lock/qemu-server/lock-100.conf").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert writer.update()["outcome"] == "busy"
        writer.config(101).write_text(uefi())
        assert writer.update(101)["outcome"] == "done"
    assert not writer.qm.calls("set", 100)
    assert writer.update()["outcome"] == "done"


def test_written_and_died_all_the_same(writer: Writer) -> None:
    """As when PVE cannot speak with a running QEMU: the words and the new digest say so."""
    before = writer.ask("config", 100)
    writer.qm.misbehave("mute")
    answer = writer.update(expected=before)
    assert (answer["outcome"], answer["words"]) == ("failed", "the answer was lost\n")
    assert answer["digest"] == writer.ask("config", 100)["digest"] != before["digest"]


def test_without_pmxcfs(writer: Writer) -> None:
    (writer.root / "etc/pve/local").unlink()
    answer = writer.ask("config", 100)
    assert (answer["outcome"], answer["words"]) == ("failed", "Unable to load access control list: Connection refused\n")
    (writer.root / "etc/pve/local").symlink_to("nodes/pve1")
    assert writer.update()["outcome"] == "done"


def test_pmxcfs_is_not_there_yet(writer: Writer) -> None:
    (writer.root / "etc/pve/local").unlink()
    writer.close()
    writer.process = writer.start()
    answer = writer.line()
    assert answer["ready"] == 0
    assert answer["words"].splitlines()[0] == "ipcc_send_rec[1] failed: Connection refused"
    assert "Unable to load access control list: Connection refused" in answer["words"]
    assert writer.process.wait(120) == 1


def test_pve_is_not_there(writer: Writer) -> None:
    Path(writer.qm.perl5lib, "PVE/API2/Qemu.pm").unlink()
    writer.close()
    writer.process = writer.start()
    answer = writer.line()
    assert answer["ready"] == 0
    assert answer["words"].startswith("Can't locate PVE/API2/Qemu.pm")


def test_pve_was_upgraded(writer: Writer) -> None:
    """What is half old and half new is not asked to write."""
    module = Path(writer.qm.perl5lib, "PVE/API2/Qemu.pm")
    new = module.with_suffix(".dpkg-new")
    new.write_text(module.read_text())
    new.rename(module)
    answer = writer.update(expected={"digest": "", "live": ""})
    assert answer["outcome"] == "outdated"
    assert writer.process.wait(120) == 0
    assert writer.config().read_text() == uefi()


@pytest.mark.parametrize(
    "perl",
    [
        pytest.param('print STDOUT "noise\\n"; print STDERR "noise\\n"; system("echo noise; echo noise >&2");', id="prints"),
        pytest.param('$SIG{__WARN__} = sub { print STDERR "mine" };', id="warnings of its own"),
        pytest.param("if (!fork()) { die 'a child' } wait();", id="a child that dies"),
        pytest.param("umask(0777); chdir('/tmp'); $ENV{PATH} = '';", id="umask, directory, environment"),
        pytest.param("select(STDERR);", id="another stream"),
    ],
)
def test_what_pve_does_beside(writer: Writer, perl: str) -> None:
    """Nothing of it comes among the answers, and the next request is answered as ever."""
    writer.pretend("PVE/API2/Qemu.pm", f"my $real = \\&update_vm; no warnings; sub odd {{ {perl} $real->(@_) }} *update_vm = \\&odd;")
    writer.restart()
    assert writer.update()["outcome"] == "done"
    writer.config(101).write_text(uefi(more="foo: bar\n"))
    assert writer.update(101)["outcome"] == "lossy"
    writer.config(101).write_text(uefi())
    assert writer.update(101)["outcome"] == "done"


@pytest.mark.parametrize("perl", ["exit 3;", "kill 9, $$;", "POSIX::_exit(0);"])
def test_what_ends_it(writer: Writer, perl: str) -> None:
    """There is no answer: who asks reads the config and starts it anew."""
    writer.pretend("PVE/API2/Qemu.pm", f"no warnings; sub odd {{ {perl} }} *update_vm = \\&odd;")
    writer.restart()
    assert writer.update() == {}


@pytest.mark.parametrize("raw", [b"rubbish\n", b"[1]\n", b"\n", b"{}\n", b'{"id":1,"do":"sing","vmid":100}\n', b'\xff\xfe{"\n', b'"x"\n'])
def test_no_request(writer: Writer, raw: bytes) -> None:
    writer.send(raw)
    assert writer.line()["outcome"] == "failed"
    assert writer.update()["outcome"] == "done"


def test_requests_in_parts_and_in_one(writer: Writer) -> None:
    request = json.dumps({"id": 1, "do": "config", "vmid": 100}).encode() + b"\n"
    for part in (request[:5], request[5:-1], b"\n" + request + request[:9], request[9:]):
        writer.send(part)
    assert [writer.line()["outcome"] for _ in range(3)] == ["done"] * 3


def test_ends_with_its_input(writer: Writer) -> None:
    assert writer.process.stdin is not None
    writer.process.stdin.close()
    assert writer.process.wait(120) == 0


def test_ends_when_nothing_is_asked(writer: Writer) -> None:
    assert writer.process.wait(120) == 0


def test_holds_nothing_below_etc_pve(writer: Writer) -> None:
    """An open file, or a working directory, would keep pmxcfs from being started again."""
    writer.update()
    process = Path(f"/proc/{writer.process.pid}")
    held = [os.readlink(process / "cwd"), *(os.readlink(each) for each in (process / "fd").iterdir())]
    assert not [path for path in held if "/etc/pve" in path]


PERL = [PROJECT / "libexec/pve-writer", *sorted((PROJECT / "tests/beds/qm/perl5").rglob("*.pm"))]


@pytest.mark.parametrize("path", PERL, ids=lambda path: path.name)
def test_is_clean_perl(path: Path, tmp_path: Path) -> None:
    text = path.read_text()
    assert "\nuse strict;\nuse warnings;\n" in text
    command = ["perl", f"-I{Qm(tmp_path / 'qm').perl5lib}", "-wc", str(path)]
    assert subprocess.run(command, capture_output=True, text=True, check=False).stderr == f"{path} syntax OK\n"
