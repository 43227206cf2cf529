"""The stand-in for qm against transcripts of the real one: words, streams, exit statuses, and the rewritten file."""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.beds.inotify import recorded
from tests.beds.pmxcfs import Pmxcfs
from tests.beds.process import kill_on_failure
from tests.beds.qm import Qm

RNG = "source=/dev/urandom"
SET = ("set", "100", "--rng0", RNG)
DONE = f"update VM 100: -rng0 {RNG}\n"
USAGE = "qm set <vmid> [OPTIONS]\n"
REFUSED = "400 Parameter verification failed.\n"
PLAIN = "boot: order=scsi0\ncores: 2\nmemory: 2048\nname: test100\n"
BLANKS = "   "
MESSY = f"""\
# first comment
name: messy
cores: 2

# second comment: 100% of ü
foo: bar
unused9: local:vm-100-disk-9
memory: 512
memory: 1024
hostpci0: 0000:01:00,rombar=maybe
net0: virtio=BC:24:11:00:00:01,bridge=vmbr0{BLANKS}
args: -foo
lxc.thing: 1
Bad Line
tags: b;a

[PENDING]
memory: 4096
delete: cores

[snap1]
memory: 512
foo: bar
name: old

[special:cloudinit]
name: x

[unknown section]
a: b
"""
MESSY_REWRITTEN = """\
# first comment
# second comment%3A 100%25 of %C3%BC
args: -foo
memory: 4096
name: messy
net0: virtio=BC:24:11:00:00:01,bridge=vmbr0
rng0: source=/dev/urandom
tags: b;a
unused9: local:vm-100-disk-9

[snap1]
memory: 512
name: old
"""
MESSY_WARNINGS = """\
vm 100 - unable to parse value of 'foo' - unknown setting 'foo'
vm 100 - unable to parse value of 'hostpci0' - format error
rombar: type check ('boolean') failed - got 'maybe'
vm 100 - unable to parse config: lxc.thing: 1
vm 100 - unable to parse config: Bad Line
vm 100 - unable to parse value of 'foo' - unknown setting 'foo'
vm 100 - skipping unknown section: 'unknown section'
"""

Answer = tuple[int, str, str]


@pytest.fixture(scope="module")
def mounted() -> Iterator[Pmxcfs]:
    with Pmxcfs(node="vm", files={"nodes/other/qemu-server/200.conf": PLAIN, "nodes/vm/lxc/300.conf": ""}) as pve:
        yield pve


@pytest.fixture
def pve(mounted: Pmxcfs) -> Iterator[Pmxcfs]:
    mounted.config(100).write_text(PLAIN)
    yield mounted
    mounted.set_quorum(True)
    for config in mounted.path("qemu-server").iterdir():
        config.unlink()
    for pidfile in Path("/run/qemu-server").iterdir():
        pidfile.unlink()


@pytest.fixture
def qm(tmp_path: Path) -> Qm:
    return Qm(tmp_path / "qm")


def answer(qm: Qm, *arguments: str) -> Answer:
    done = qm.run(*arguments)
    return done.returncode, done.stdout, done.stderr


def digest(pve: Pmxcfs) -> str:
    return hashlib.sha1(pve.config(100).read_bytes()).hexdigest()


def wait_until(reached: Callable[[], bool], timeout: float = 30.0) -> None:
    deadline = time.monotonic() + timeout
    while not reached():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.005)


def content(path: Path) -> str:
    """The file's text; none at the moment in which another process replaces it.

    libfuse knows a file by its number, and a replaced one has no name left: open(2) ends with ENOENT if the rename came after the lookup.
    """
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""


def run_guest(vmid: int) -> None:
    """Let a guest run: this process is as alive as any QEMU."""
    Path(f"/run/qemu-server/{vmid}.pid").write_text(f"{os.getpid()}\n")


def stop_guest(vmid: int) -> None:
    Path(f"/run/qemu-server/{vmid}.pid").unlink()


# --- answers to wrong calls: nothing is written ---


@pytest.mark.parametrize(
    "arguments, status, words",
    [
        pytest.param((*SET, "--digest", "1" * 40), 255, "checksum mismatch (file change by other user?)\n", id="stale digest"),
        pytest.param((*SET, "--digest", "abc"), 255, "checksum mismatch (file change by other user?)\n", id="short"),
        pytest.param(
            (*SET, "--digest", "1" * 41),
            2,
            f"{REFUSED}digest: value may only be 40 characters long\n{USAGE}",
            id="long digest",
        ),
        pytest.param(
            ("set", "9999", "--rng0", RNG),
            2,
            "Configuration file 'nodes/vm/qemu-server/9999.conf' does not exist\n",
            id="no such guest",
        ),
        pytest.param(
            ("set", "200", "--rng0", RNG),
            2,
            "Configuration file 'nodes/vm/qemu-server/200.conf' does not exist\n",
            id="guest of another node",
        ),
        pytest.param(
            ("set", "300", "--rng0", RNG),
            2,
            "Configuration file 'nodes/vm/qemu-server/300.conf' does not exist\n",
            id="container",
        ),
        pytest.param(
            ("set", "99", "--rng0", RNG),
            2,
            f"{REFUSED}vmid: invalid format - value does not look like a valid VM ID\n\n{USAGE}",
            id="vmid too small",
        ),
        pytest.param(
            ("set", "100", "--rng0", "source=/dev/zero"),
            2,
            f"{REFUSED}rng0: invalid format - format error\nrng0.source: value '/dev/zero' does not have a value in"
            f" the enumeration '/dev/urandom, /dev/random, /dev/hwrng'\n\n{USAGE}",
            id="bad source",
        ),
        pytest.param(
            ("set", "100", "--rng0", f"{RNG},foo=1"),
            2,
            f"{REFUSED}rng0: invalid format - format error\nrng0.foo: property is not defined in schema and the"
            f" schema does not allow additional properties\n\n{USAGE}",
            id="bad key",
        ),
        pytest.param(
            ("set", "100", "--rng0", f"{RNG},max_bytes=x"),
            2,
            f"{REFUSED}rng0: invalid format - format error\nrng0.max_bytes: type check ('integer') failed - got 'x'\n\n{USAGE}",
            id="bad max_bytes",
        ),
        pytest.param(("set", "100"), 2, "no options specified\n", id="no options"),
        pytest.param(("set",), 2, f"400 not enough arguments\n{USAGE}", id="no guest"),
        pytest.param(("set", "100", "101"), 2, f"400 too many arguments\n{USAGE}", id="two guests"),
        pytest.param(("set", "100", "--onboot", "x"), 2, f"400 unable to parse boolean option\n{USAGE}", id="bad boolean"),
        pytest.param(
            ("set", "100", "--delete", "rng0", "--revert", "rng0"),
            2,
            f"{REFUSED}revert: you can't use '-delete rng0' and -revert rng0' at the same time\n{USAGE}",
            id="delete and revert",
        ),
        pytest.param(
            ("set", "100", "--rngX", RNG),
            2,
            f"Unknown option: rngx\n400 unable to parse option\n{USAGE}",
            id="unknown option",
        ),
        pytest.param(
            (*SET, "--delete", "rng0"),
            255,
            f"{REFUSED}delete: you can't use '-rng0' and -delete rng0' at the same time\n{USAGE}",
            id="delete and set",
        ),
    ],
)
def test_wrong_calls(pve: Pmxcfs, qm: Qm, arguments: tuple[str, ...], status: int, words: str) -> None:
    assert answer(qm, *arguments) == (status, "", words)
    assert pve.config(100).read_text() == PLAIN


@pytest.mark.parametrize("lock", "backup clone create migrate rollback snapshot snapshot-delete suspended suspending".split())
def test_locked_by_its_config(pve: Pmxcfs, qm: Qm, lock: str) -> None:
    pve.config(100).write_text(f"lock: {lock}\n")
    assert answer(qm, *SET, "--digest", digest(pve)) == (255, "", f"VM is locked ({lock})\n")
    assert answer(qm, *SET, "--digest", "1" * 40)[2] == "checksum mismatch (file change by other user?)\n"
    assert answer(qm, *SET, "--skiplock") == (0, f"update VM 100: -rng0 {RNG} -skiplock 1\n", "")


def test_locked_by_another_process(pve: Pmxcfs, qm: Qm, tmp_path: Path) -> None:
    lock = Path("/var/lock/qemu-server/lock-100.conf")
    lock.parent.mkdir(exist_ok=True)
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        expected = f"trying to acquire lock...\ncan't lock file '{lock}' - got timeout\n"
        assert answer(Qm(tmp_path / "impatient", lock_timeout=0.2), *SET) == (4, "", expected)
        with kill_on_failure(subprocess.Popen([qm.executable, *SET], stderr=subprocess.PIPE, text=True)) as waiting:
            assert waiting.stderr is not None
            assert waiting.stderr.readline() == "trying to acquire lock...\n"
            fcntl.flock(held, fcntl.LOCK_UN)
            assert (waiting.stderr.read(), waiting.wait()) == (" OK\n", 0)


def test_without_quorum(pve: Pmxcfs, qm: Qm) -> None:
    pve.set_quorum(False)
    status, stdout, stderr = answer(qm, *SET)
    pid = qm.calls()[0].pid
    assert (status, stdout) == (2, DONE)
    assert stderr == f"unable to open file '/etc/pve/nodes/vm/qemu-server/100.conf.tmp.{pid}' - Permission denied\n"


def test_without_pmxcfs(tmp_path: Path) -> None:
    status, stdout, stderr = answer(Qm(tmp_path / "qm", root=str(tmp_path / "empty")), *SET)
    assert (status, stdout) == (111, "")
    assert stderr.startswith("ipcc_send_rec[1] failed: Connection refused\n")
    assert stderr.endswith("Unable to load access control list: Connection refused\n")


# --- stopped guests ---


@pytest.mark.parametrize("value", [RNG, "/dev/urandom", "source=/dev/hwrng", f"{RNG},max_bytes=1024,period=1000"])
def test_a_value_is_set_at_once(pve: Pmxcfs, qm: Qm, value: str) -> None:
    expected = (0, f"update VM 100: -rng0 {value}\n", "")
    assert answer(qm, "set", "100", "--rng0", value, "--digest", digest(pve)) == expected
    assert pve.config(100).read_text() == f"{PLAIN}rng0: {value}\n"
    assert answer(qm, "set", "100", "--rng0", value, "--digest", digest(pve)) == expected


def test_an_empty_digest_is_none(pve: Pmxcfs, qm: Qm) -> None:
    assert answer(qm, *SET, "--digest", "") == (0, DONE, "")


def test_an_upper_case_digest_never_matches(pve: Pmxcfs, qm: Qm) -> None:
    assert answer(qm, *SET, "--digest", digest(pve).upper())[0] == 255


def test_delete(pve: Pmxcfs, qm: Qm) -> None:
    assert answer(qm, *SET)[0] == 0
    assert answer(qm, "set", "100", "--delete", "rng0") == (0, "update VM 100: -delete rng0\n", "")
    assert pve.config(100).read_text() == PLAIN
    words = "cannot delete 'rng0' - not set in current configuration!\n"
    assert answer(qm, "set", "100", "--delete", "rng0") == (0, "update VM 100: -delete rng0\n", words)


def test_all_other_pending_changes_are_applied_too(pve: Pmxcfs, qm: Qm) -> None:
    pve.config(100).write_text(f"{PLAIN}\n[PENDING]\nballoon: 0\ndelete: cores\nmemory: 4096\n")
    assert answer(qm, *SET) == (0, DONE, "")
    assert pve.config(100).read_text() == f"balloon: 0\nboot: order=scsi0\nmemory: 4096\nname: test100\nrng0: {RNG}\n"


@pytest.mark.parametrize(
    "before, after",
    [
        pytest.param(b"", f"rng0: {RNG}\n", id="empty"),
        pytest.param(b"memory: 512", f"memory: 512\nrng0: {RNG}\n", id="no newline at the end"),
        pytest.param(b"cores: 2\r\nmemory: 512\r\n", f"cores: 2\nmemory: 512\nrng0: {RNG}\n", id="CRLF"),
        pytest.param(b"template: 1\nmemory: 512\n", f"memory: 512\nrng0: {RNG}\ntemplate: 1\n", id="template"),
    ],
)
def test_the_file_is_written_anew(pve: Pmxcfs, qm: Qm, before: bytes, after: str) -> None:
    pve.config(100).write_bytes(before)
    assert answer(qm, *SET, "--digest", digest(pve)) == (0, DONE, "")
    assert pve.config(100).read_text() == after


def test_what_pve_cannot_read_is_lost(pve: Pmxcfs, qm: Qm) -> None:
    pve.config(100).write_text(MESSY)
    assert answer(qm, "config", "100", "--current")[2] == MESSY_WARNINGS
    assert answer(qm, *SET, "--digest", digest(pve)) == (0, DONE, MESSY_WARNINGS)
    assert pve.config(100).read_text() == MESSY_REWRITTEN
    assert answer(qm, "config", "100")[2] == ""


def test_one_call_is_two_rename_cycles(pve: Pmxcfs, qm: Qm, tmp_path: Path) -> None:
    with recorded(pve.path("nodes/vm/qemu-server")) as recorder:
        qm.misbehave("pause", verb="set", until=str(tmp_path / "go"))
        caller = threading.Thread(target=qm.run, args=SET)
        caller.start()
        try:
            wait_until(lambda: content(pve.config(100)) == f"{PLAIN}\n[PENDING]\nrng0: {RNG}\n")
        finally:  # a qm that waits for ever would keep the guest locked for the tests that follow
            (tmp_path / "go").touch()
            caller.join()
        temporary = f"100.conf.tmp.{qm.calls()[0].pid}"
        cycle = [(mask, temporary) for mask in ("IN_CREATE", "IN_MODIFY", "IN_CLOSE_WRITE", "IN_MOVED_FROM")]
        assert recorder.seen() == [*cycle, ("IN_MOVED_TO", "100.conf")] * 2


# --- running guests ---


def test_on_a_running_guest_it_is_pending(pve: Pmxcfs, qm: Qm) -> None:
    run_guest(100)
    assert answer(qm, "status", "100") == (0, "status: running\n", "")
    assert answer(qm, *SET, "--digest", digest(pve)) == (0, DONE, "")
    assert pve.config(100).read_text() == f"{PLAIN}\n[PENDING]\nrng0: {RNG}\n"
    shown = "".join(f"cur {line}\n" for line in PLAIN.splitlines()) + f"new rng0: {RNG}\n"
    assert answer(qm, "pending", "100") == (0, shown, "")
    assert answer(qm, "config", "100", "--current") == (0, PLAIN, "")
    assert answer(qm, "config", "100") == (0, f"{PLAIN}rng0: {RNG}\n", "")
    assert answer(qm, *SET) == (0, DONE, "")
    assert answer(qm, "set", "100", "--revert", "rng0") == (0, "update VM 100: -revert rng0\n", "")
    assert pve.config(100).read_text() == PLAIN


def test_a_delete_on_a_running_guest_waits_for_its_stop(pve: Pmxcfs, qm: Qm) -> None:
    pve.config(100).write_text(f"memory: 512\nrng0: {RNG}\n")
    run_guest(100)
    assert answer(qm, "set", "100", "--delete", "rng0")[0] == 0
    assert pve.config(100).read_text() == f"memory: 512\nrng0: {RNG}\n\n[PENDING]\ndelete: rng0\n"
    assert answer(qm, "pending", "100")[1] == f"cur memory: 512\ndel rng0: {RNG}\n"
    stop_guest(100)
    assert answer(qm, "set", "100", "--onboot", "1") == (0, "update VM 100: -onboot 1\n", "")
    assert pve.config(100).read_text() == "memory: 512\nonboot: 1\n"


def test_a_hookscript_is_set_at_once_on_a_running_guest(pve: Pmxcfs, qm: Qm) -> None:
    run_guest(100)
    script = Path("/var/lib/vz/snippets/guard")
    missing = f"{REFUSED}hookscript: script 'local:snippets/guard' does not exist\n\n{USAGE}"
    assert answer(qm, "set", "100", "--hookscript", "local:snippets/guard") == (2, "", missing)
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    assert answer(qm, "set", "100", "--hookscript", "local:snippets/guard")[0] == 0
    script.unlink()
    assert "hookscript: local:snippets/guard\n" in pve.config(100).read_text()
    assert "PENDING" not in pve.config(100).read_text()


def test_list(pve: Pmxcfs, qm: Qm) -> None:
    pve.config(1000).write_text("memory: 512\n")
    run_guest(100)
    assert answer(qm, "list")[1].splitlines() == [
        "      VMID NAME                 STATUS     MEM(MB)    BOOTDISK(GB) PID       ",
        f"       100 test100              running    2048               0.00 {os.getpid():<10}",
        "      1000 VM 1000              stopped    512                0.00 0         ",
    ]


# --- what it remembers, and what it does wrong ---


def test_it_remembers_how_it_was_called(pve: Pmxcfs, qm: Qm, tmp_path: Path) -> None:
    with (tmp_path / "held").open("w") as held:
        os.set_inheritable(held.fileno(), True)
        environment = {"PATH": qm.path, "LC_ALL": "C", "SECRET": "x"}
        subprocess.run(["qm", *SET], env=environment, cwd="/run", stdin=subprocess.DEVNULL, close_fds=False, check=True)
        (call,) = qm.wait_for_calls(1, verb="set", vmid=100)
        assert call.descriptors[str(held.fileno())] == str(tmp_path / "held")
    assert (call.argv, call.cwd, call.stdin, call.status) == (list(SET), "/run", "/dev/null", 0)
    assert (call.option("rng0"), call.ppid) == (RNG, os.getpid())
    assert call.environment == {"PATH": qm.path, "LC_ALL": "C"}
    assert "SECRET" in call.environment_names
    assert call.ended is not None and call.started < call.ended < time.monotonic()


def test_it_counts_calls_side_by_side(pve: Pmxcfs, qm: Qm) -> None:
    qm.misbehave("sleep", seconds=1.0, times=None)
    callers = [threading.Thread(target=qm.run, args=("status", "100")) for _ in range(3)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert qm.most_at_once() == 3


def test_it_hangs(pve: Pmxcfs, qm: Qm) -> None:
    qm.misbehave("hang", verb="set", vmid=100)
    assert answer(qm, "status", "100")[0] == 0
    with kill_on_failure(subprocess.Popen([qm.executable, *SET])) as hanging:
        wait_until(lambda: qm.calls("set") != [])
        with pytest.raises(subprocess.TimeoutExpired):
            hanging.wait(0.1)
        hanging.kill()
    assert [call.ended for call in qm.calls("set")] == [None]
    assert answer(qm, *SET)[0] == 0


def test_it_is_killed(pve: Pmxcfs, qm: Qm) -> None:
    qm.misbehave("killed")
    qm.misbehave("killed-after")
    assert answer(qm, *SET) == (-9, "", "")
    assert pve.config(100).read_text() == PLAIN
    assert answer(qm, *SET)[0] == -9
    assert pve.config(100).read_text() == f"{PLAIN}rng0: {RNG}\n"


def test_it_loses_the_answer(pve: Pmxcfs, qm: Qm) -> None:
    qm.misbehave("mute")
    assert answer(qm, *SET) == (255, "", "")
    assert pve.config(100).read_text() == f"{PLAIN}rng0: {RNG}\n"


def test_it_lies(pve: Pmxcfs, qm: Qm) -> None:
    qm.misbehave("lie")
    assert answer(qm, *SET) == (0, DONE, "")
    assert pve.config(100).read_text() == PLAIN


def test_it_talks_garbage(pve: Pmxcfs, qm: Qm) -> None:
    qm.misbehave("garbage", status=3)
    done = subprocess.run([qm.executable, *SET], capture_output=True, check=False)
    assert done.returncode == 3
    assert b"\x00\x01" in done.stdout and b"\xff" in done.stderr


def test_it_answers_what_it_is_reported(pve: Pmxcfs, qm: Qm) -> None:
    qm.misbehave("answer", verb="set", times=2, stderr="VM is locked (backup)\n", status=255)
    assert [answer(qm, *SET)[0] for _ in range(3)] == [255, 255, 0]
    qm.misbehave("answer", times=None, stdout="x")
    qm.behave()
    assert answer(qm, *SET) == (0, DONE, "")


def test_below_another_root(tmp_path: Path) -> None:
    root = tmp_path / "root"
    directory = root / "etc/pve/nodes/pve1/qemu-server"
    directory.mkdir(parents=True)
    (root / "etc/pve/local").symlink_to("nodes/pve1")
    (directory / "100.conf").write_text(PLAIN)
    assert answer(Qm(tmp_path / "qm", root=str(root)), *SET) == (0, DONE, "")
    assert (directory / "100.conf").read_text() == f"{PLAIN}rng0: {RNG}\n"
    assert (root / "var/lock/qemu-server/lock-100.conf").exists()
