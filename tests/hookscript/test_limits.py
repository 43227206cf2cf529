"""What the sh part does itself ends in time and in few lines, whatever it reads and whoever reads what it logs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.beds.namespace import detach_fuse, mount
from tests.beds.pmxcfs import Pmxcfs
from tests.beds.process import kill_on_failure
from tests.hookscript.bed import CONFIGS, ENVIRONMENT, HOOKS, PHASES, attach, call, config, install, script

PLAIN = "memory: 512\nname: web\n"
RECORDS = Path("/etc/pve/pvehooks/guests")
ASKED = (0, "guard 100 pre-start\n", "")
# A file system whose only file, 100.conf, can be opened and is never read to its end. Unlike a pmxcfs that is stopped, it has accepted the
# read: the kernel lets no signal end that (fs/fuse/dev.c, request_wait_answer), unless it reads into the page cache.
STUCK = """\
import stat, sys, time
from fusepy import FUSE, Operations
class Stuck(Operations):
    def getattr(self, path, fh=None):
        return {"st_mode": stat.S_IFDIR | 0o755 if path == "/" else stat.S_IFREG | 0o644, "st_nlink": 1, "st_size": 100}
    def readdir(self, path, fh):
        return [".", "..", "100.conf"]
    def read(self, path, size, offset, fh):
        time.sleep(3600)
FUSE(Stuck(), sys.argv[1], foreground=True, direct_io=True)
"""


@pytest.fixture(autouse=True)
def installed() -> Path:
    install()
    return attach()


def soon(directory: Path) -> dict[str, str]:
    """A PATH whose `sleep` is short: for what need not last as long as on a node. The rest of a hook's output has a second."""
    script(directory / "sleep", "#!/bin/sh\ncase $1 in 3) exec /bin/sleep 1 ;; esac\nexec /bin/sleep 0.2\n")
    return {"PATH": f"{directory}:{ENVIRONMENT['PATH']}"}


# -- reading ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["config", "record", "the config at the source of a migration"])
def test_a_fifo_in_place_of_a_file(installed: Path, which: str, tmp_path: Path) -> None:
    config(PLAIN)
    path = CONFIGS / "100.conf"
    environment = soon(tmp_path)
    if which == "record":
        path = RECORDS / "100.json"
    elif which != "config":
        config(PLAIN, node="pve2")
        path = Path("/etc/pve/nodes/pve2/qemu-server/100.conf")
        environment["PVE_MIGRATED_FROM"] = "pve2"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    # A FIFO at the source is no config: that of this node counts.
    assert call(installed, "100", "pre-start", **environment) == (ASKED if which in ("config", "record") else (0, "", ""))
    assert not list(filter(reads_a_config, processes().values())), "what reads it is left behind"


def processes() -> dict[int, str]:
    """The command lines of the processes in this mount namespace, which is the test run's own."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(path / "ns/mnt") == os.readlink("/proc/self/ns/mnt"):
                found[int(path.name)] = (path / "cmdline").read_text(errors="replace")
        except OSError:
            continue
    return found


def reads_a_config(line: str) -> bool:
    return line.startswith("sed\0")


def test_a_pmxcfs_that_hangs(installed: Path, tmp_path: Path) -> None:
    with Pmxcfs(files={"nodes/pve1/qemu-server/100.conf": PLAIN}) as pve:
        assert call(installed, "100", "pre-start") == (0, "", "")
        pve.hang()
        try:
            assert call(installed, "100", "pre-start", **soon(tmp_path)) == ASKED
        finally:
            pve.resume()
    # A pmxcfs takes away what it finds mounted there.
    mount("tmpfs", "/etc/pve", "tmpfs")


@contextmanager
def stuck(mountpoint: Path) -> Iterator[None]:
    """A file system there that accepts reads and does not answer."""
    with kill_on_failure(subprocess.Popen([sys.executable, "-c", STUCK, str(mountpoint)])) as server:
        try:
            limit = time.monotonic() + 120
            while not os.path.ismount(mountpoint):
                assert time.monotonic() < limit and server.poll() is None
                time.sleep(0.02)
            yield
        finally:
            server.kill()
            detach_fuse(mountpoint)


def test_a_read_that_no_signal_ends(installed: Path, tmp_path: Path) -> None:
    """It is left behind, and holds nothing that PVE waits for."""
    with stuck(CONFIGS):
        assert call(installed, "100", "pre-start", **soon(tmp_path)) == ASKED
        assert list(filter(reads_a_config, processes().values())), "it could be ended: this is not the read that is meant"


@pytest.mark.parametrize(
    "sed",
    [
        pytest.param("exec /bin/sleep 3600", id="hangs"),
        pytest.param("trap '' TERM HUP INT\n/bin/sleep 3600", id="ignores signals"),
        pytest.param("setsid /bin/sleep 3600 &", id="leaves a grandchild with its streams"),
    ],
)
def test_a_program_that_does_not_end(installed: Path, sed: str, tmp_path: Path) -> None:
    """Its standard output is not PVE's: `call` reads that to its end."""
    config(PLAIN)
    environment = soon(tmp_path)
    script(tmp_path / "sed", f"#!/bin/sh\n{sed}\n")
    try:
        assert call(installed, "100", "pre-start", **environment) == (ASKED if "setsid" not in sed else (0, "", ""))
    finally:
        end_sleeps(str(tmp_path / "sed"))


def end_sleeps(script_name: str) -> None:
    """Ends what the test above leaves behind, also what has not become a sleep yet."""
    for pid, line in processes().items():
        if line.endswith("/bin/sleep\x003600\0") or script_name in line:
            os.kill(pid, 9)


def left_after(seconds: float, command: str) -> list[str]:
    """The processes with this command line that are there after so many seconds at most: one that was killed takes a moment to go."""
    limit = time.monotonic() + seconds
    while left := [line for line in processes().values() if line.startswith(command)]:
        if time.monotonic() > limit:
            break
        time.sleep(0.01)
    return left


def test_nothing_is_left_of_a_start_that_had_to_wait_for_nothing(installed: Path) -> None:
    config(PLAIN)
    for _ in range(20):
        assert call(installed, "100", "pre-start") == (0, "", "")
    assert not left_after(60, "sleep\x005")


@pytest.mark.parametrize("missing", ["sleep", "sed"])
def test_a_program_that_is_not_there(installed: Path, missing: str, tmp_path: Path) -> None:
    config(PLAIN)
    for name in {"sleep", "sed", "stat", "timeout"} - {missing}:
        (tmp_path / name).symlink_to(f"/usr/bin/{name}")
    ran = call(installed, "100", "pre-start", PATH=str(tmp_path))
    # Without a timer the answer may come first.
    assert ran in (ASKED, (0, "", "") if missing == "sleep" else ASKED)


# -- hooks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "hook",
    [
        pytest.param("exec /bin/sleep 3700", id="hangs"),
        pytest.param("trap '' TERM HUP INT\n/bin/sleep 3700", id="ignores signals"),
        pytest.param("/bin/sleep 3700 &\nwait", id="waits for a child with its streams"),
        pytest.param("kill -STOP $$", id="stops itself"),
    ],
)
@pytest.mark.parametrize("phase", PHASES)
def test_a_hook_that_does_not_end(installed: Path, hook: str, phase: str, tmp_path: Path) -> None:
    """It is killed with what it has started, and refuses nothing; the next ones are run, and the guard."""
    config("hostpci0: 0000:01:00.0\n")
    script(HOOKS / "a", f"#!/bin/sh\n{hook}\n")
    script(HOOKS / "b", f"#!/bin/sh\n{hook}\n")
    script(HOOKS / "c", "#!/bin/sh\necho c\n")
    words = f"/etc/pvehooks/hooks.d/a had not ended after 300 s in {phase} of VM 100 and was killed, which refuses nothing."
    assert call(installed, "100", phase, **soon(tmp_path)) == (
        0,
        "c\nguard 100 pre-start\n" if phase == "pre-start" else "c\n",
        f"pvehooks: {words} Switch it off: chmod a-x /etc/pvehooks/hooks.d/a\npvehooks: 1 more in /etc/pvehooks/hooks.d failed in {phase} of VM 100\n",
    )
    assert not left_after(60, "/bin/sleep\x003700")


def test_a_hook_that_no_signal_ends(installed: Path, tmp_path: Path) -> None:
    """It is left behind, and has none of the streams that PVE reads to their end: `call` does that, too."""
    config("hostpci0: 0000:01:00.0\n")
    (tmp_path / "stuck").mkdir()
    script(HOOKS / "a", f"#!/bin/sh\nexec sed '' {tmp_path}/stuck/100.conf\n")
    with stuck(tmp_path / "stuck"):
        ran = call(installed, "100", "pre-start", **soon(tmp_path))
        assert (ran.status, ran.out) == (0, "guard 100 pre-start\n") and "was killed, which refuses nothing" in ran.err
        assert list(filter(reads_a_config, processes().values()))


@pytest.mark.parametrize(("phase", "status"), [("pre-start", 0), ("pre-start", 7), ("post-stop", 0)])
def test_a_hook_leaves_a_process_that_has_its_streams(installed: Path, phase: str, status: int, tmp_path: Path) -> None:
    """No signal for the hook's session reaches it, and it would keep PVE: the output until then is shown, in its order, and the status counts."""
    config("hostpci0: 0000:01:00.0\n")
    leave = f"{sys.executable} -c 'import os, time; os.setsid(); time.sleep(3800)' &"
    script(HOOKS / "a", f"#!/bin/sh\necho a1\n{leave}\necho a2\necho a3 >&2\nexit {status}\n")
    script(HOOKS / "b", "#!/bin/sh\necho b\n")
    try:
        ran = call(installed, "100", phase, **soon(tmp_path))
        left = [line for line in processes().values() if "time.sleep(3800)" in line]
    finally:
        for pid, line in processes().items():
            if "time.sleep(3800)" in line:
                os.kill(pid, 9)
    assert left, "it was to be left: this is not the process that is meant"
    words = (
        f"ended in {phase} of VM 100, but a process that it left has its output still: nothing waits for that. In the script: COMMAND >/dev/null 2>&1 &"
        if not status
        else "ended with status 7: the start of VM 100 is refused. Fix it, or switch it off: chmod a-x /etc/pvehooks/hooks.d/a"
    )
    after = "" if status else "b\nguard 100 pre-start\n" if phase == "pre-start" else "b\n"
    assert ran == (status, f"a1\na2\n{after}", f"a3\npvehooks: /etc/pvehooks/hooks.d/a {words}\n")


def test_all_that_a_hook_prints_is_shown(installed: Path) -> None:
    """More than a pipe holds, and as it is: NUL bytes, a line without its end."""
    config(PLAIN)
    script(HOOKS / "a", "#!/usr/bin/python3\nimport sys\nsys.stdout.write('x' * 300000 + chr(0) + 'y')\nsys.stderr.write('z' * 300000)\n")
    script(HOOKS / "b", "#!/bin/sh\necho b\n")
    ran = call(installed, "100", "pre-start")
    assert ran.status == 0 and (len(ran.out), ran.out[299_999:]) == (300_004, "x\0yb\n") and ran.err == "z" * 300_000


def test_a_hook_whose_output_is_not_read(installed: Path) -> None:
    """It gets SIGPIPE, as without us: the reader's end is nowhere else."""
    config(PLAIN)
    script(HOOKS / "a", "#!/bin/sh\nexec yes\n")
    process = subprocess.Popen(
        [str(installed), "100", "post-stop"], env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd="/"
    )
    with kill_on_failure(process):
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.read(4) == b"y\ny\n"
        process.stdout.close()
        assert process.stderr.read() == b"pvehooks: /etc/pvehooks/hooks.d/a ended with status 141 in post-stop of VM 100\n"
        assert process.wait() == 0


@pytest.mark.parametrize("status", [0, 1, 17, 124, 137, 145])
def test_the_status_of_a_hook_is_its_own(installed: Path, status: int) -> None:
    """None of them is taken for that of the timer."""
    script(HOOKS / "a", f"#!/bin/sh\nexit {status}\n")
    config(PLAIN)
    ran = call(installed, "100", "pre-start")
    assert ran.status == status and ("ended with status" in ran.err) is (status != 0)
    assert not left_after(60, "sleep\x00300"), "the timer is left behind"


def test_without_a_timer_hooks_have_no_limit(installed: Path, tmp_path: Path) -> None:
    for name in ("sed", "stat", "timeout", "setsid", "env", "python3"):
        (tmp_path / name).symlink_to(f"/usr/bin/{name}")
    config(PLAIN)
    script(HOOKS / "a", "#!/usr/bin/python3\nimport time\ntime.sleep(0.5)\nprint('done')\n")
    ran = call(installed, "100", "pre-start", PATH=str(tmp_path))
    assert (ran.status, ran.err) == (0, "") and ran.out.startswith("done\n")


# -- output -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("guard", "status"), [("exit 127", 1), ("kill -9 $$", 137), (None, 0)])
def test_a_reader_that_does_not_read(installed: Path, guard: str | None, status: int) -> None:
    """The pipe is full and stays so: the verdict comes all the same."""
    config("hostpci0: 0000:01:00.0\n")
    if guard is None:
        (Path("/usr/libexec/pvehooks/guard")).unlink()
    else:
        install(f"#!/bin/sh\n{guard}\n")
    script(HOOKS / "a", "#!/bin/sh\n", 0o644)
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    try:
        while True:
            os.write(theirs, b"x" * 4096)
    except BlockingIOError:
        os.set_blocking(theirs, True)
    with kill_on_failure(
        subprocess.Popen([str(installed), "100", "pre-start"], env=ENVIRONMENT, stdout=theirs, stderr=theirs, cwd="/")
    ) as process:
        assert process.wait(40) == status
    os.close(theirs)
    os.close(ours)


@pytest.mark.parametrize("phase", PHASES)
def test_few_lines(installed: Path, phase: str) -> None:
    """Thirty hooks that are not run, thirty that fail, and a guard that cannot be run."""
    config("hostpci0: 0000:01:00.0\n")
    install("#!/bin/sh\nexit 127\n")
    for number in range(30):
        script(HOOKS / f"a{number}", "#!/bin/sh\n", 0o644)
        script(HOOKS / f"b{number}", f"#!/bin/sh\nexit {0 if phase == 'pre-start' else 3}\n")
    ran = call(installed, "100", phase, PVE_MIGRATED_FROM="../x")
    assert ran.out == "" and len(ran.err.splitlines()) <= 5
    assert "Others are not run either (29). See: ls -l /etc/pvehooks/hooks.d\n" in ran.err
    if phase == "pre-start":
        assert ran.status == 1 and "the start of VM 100 is refused" in ran.err.splitlines()[-1]
    else:
        assert (ran.status, ran.err.splitlines()[-1]) == (0, f"pvehooks: 29 more in /etc/pvehooks/hooks.d failed in {phase} of VM 100")
