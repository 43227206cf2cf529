"""The guard as a process: bugs, deadlines, signals, and streams that nobody reads."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.beds.process import kill_on_failure
from tests.guard import bed
from tests.guard.bed import KNOWN, REFUSED, broken


@pytest.mark.parametrize(
    ("look", "words"),
    [
        ("raise KeyError('x')", "the guard made a mistake (KeyError), please report it: journalctl -t pvehooks-guard"),
        ("raise RecursionError", "the guard made a mistake (RecursionError)"),
        ("sys.exit(0)", ""),
        ("os.kill(os.getpid(), 9)", "the examination was ended by signal 9"),
        ("os.kill(os.getpid(), 15)", "the examination was ended by signal 15"),
        ("send('settings', 1, 'known'); time.sleep(30)", "the examination took longer than 1 s ([guard] deadline) and was given up"),
        ("signal.signal(15, signal.SIG_IGN); send('settings', 1, 'known'); time.sleep(30)", "took longer than 1 s"),
        ("return 7", ""),
    ],
)
def test_mistakes_of_ours_decide_nothing(look: str, words: str, tmp_path: Path) -> None:
    root = bed.node(tmp_path)
    status, out = broken(root, look)
    assert status == 1 and words in out and REFUSED + "no start of it was accepted before" in out
    assert bed.start(root).status == 0
    status, out = broken(root, look)
    assert status == 0 and words in out and out.endswith(KNOWN)


@pytest.mark.parametrize(
    ("look", "status", "words"),
    [
        ("send('verdict', 0); raise KeyError", 0, "made a mistake"),
        ("send('verdict', 1); raise KeyError", 1, "made a mistake"),
        ("send('verdict', 0); os.kill(os.getpid(), 9)", 0, "was ended by signal 9 after its verdict, which stands"),
        ("send('verdict', 0); send('binding'); send('verdict', 0); os.kill(os.getpid(), 9)", 0, "which stands"),
        ("send('verdict', 0); send('binding'); send('verdict', 1); raise KeyError", 1, "made a mistake"),
        ("send('verdict', 0); send('binding'); os.kill(os.getpid(), 9)", 1, "binding its devices to vfio-pci was ended by signal 9"),
        ("send('verdict', 0); send('binding'); raise KeyError", 1, "binding its devices to vfio-pci failed"),
    ],
)
def test_a_verdict_stands_whatever_comes_after(look: str, status: int, words: str, tmp_path: Path) -> None:
    ran = broken(bed.node(tmp_path), look)
    assert ran[0] == status and words in ran[1]


def test_lines_before_the_deadline_come_through_in_order(tmp_path: Path) -> None:
    look = "from pvehooks.guard.log import log_line; send('settings', 1, 'allow'); log_line('first'); log_line('second'); time.sleep(30)"
    status, out = broken(bed.node(tmp_path), look)
    assert status == 0
    assert out.splitlines()[:2] == ["pvehooks: first", "pvehooks: second"] and "took longer" in out.splitlines()[2]


@pytest.mark.parametrize("on_error", ["known", "allow"])
def test_a_device_that_hangs_refuses_the_start(on_error: str, tmp_path: Path) -> None:
    """It is named; where it was finished before, the settings decide as ever."""
    root = bed.node(tmp_path)
    begin = f"send('settings', 1, '{on_error}'); send('changing', 'taking 0000:01:00.0 off the bus'); "
    status, out = broken(root, f"{begin}time.sleep(30)")
    assert (status, out) == (
        1,
        "pvehooks: VM 100 is not started: taking 0000:01:00.0 off the bus did not come to its end within 1 s. See: dmesg\n",
    )
    status, out = broken(root, f"{begin}os.kill(os.getpid(), 9)")
    assert status == 1 and "VM 100 is not started: taking 0000:01:00.0 off the bus was broken off. See: dmesg" in out
    status, out = broken(root, f"{begin}send('changing', ''); time.sleep(30)")
    assert status == (0 if on_error == "allow" else 1) and "0000:01:00.0" not in out, out


@pytest.mark.parametrize("late", [0, 0.2], ids=["", "before it goes on from the fork"])
def test_asked_to_end(late: float, tmp_path: Path) -> None:
    program = f"""
import os, sys, time
sys.path.insert(0, {str(bed.PROJECT)!r})
from pvehooks.guard import main, start
fork = os.fork
def slow():
    pid = fork()
    if pid:
        time.sleep({late})
    return pid
os.fork = slow
def examine(*_):
    open({str(tmp_path / "looking")!r}, "w").write(str(__import__("os").getpid()))
    time.sleep(600)
start.examine = examine
main.run()
"""
    root = bed.node(tmp_path / "tree")
    line = [*bed.ISOLATED, "-c", program, "100", "pre-start", "--root", str(root)]
    with kill_on_failure(subprocess.Popen(line, env=bed.environment())) as process:
        limit = time.monotonic() + 120
        while not (tmp_path / "looking").exists() or not (tmp_path / "looking").read_text():
            assert time.monotonic() < limit
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 1
    child = int((tmp_path / "looking").read_text())
    limit = time.monotonic() + 120
    while os.path.exists(f"/proc/{child}") and "Z" not in Path(f"/proc/{child}/stat").read_text().split(")")[1][:3]:
        assert time.monotonic() < limit, "the examination goes on without anybody who waits for it"
        time.sleep(0.02)


BINDING = '''
import os, signal, sys, time
from pathlib import Path
sys.path.insert(0, {project!r})
from pvehooks.actions.pci import bind
from pvehooks.guard import main, start, supervise
from tests.actions.pci.kernel import BUS, Kernel
from tests.guard import bed
def slow(host, path, text):
    former(host, path, text)
    if path.endswith("/unbind") and not unbound.exists():
        unbound.write_text("unbound")
        # Until it is asked.
        while not asked:
            time.sleep(0.01)
def note(self, *_):
    asked.append(self)
    on_signal(self)
on_signal, asked = supervise.DeferTermination._on_signal, []
supervise.DeferTermination._on_signal = note
former, unbound = Kernel.write_attribute, Path({unbound!r})
Kernel.write_attribute = slow
class Node:
    """What the program takes for its node, and is a tree."""
    is_node = True
    def __init__(self, root):
        self._kernel = Kernel(root)
    def __getattr__(self, name):
        return getattr(self._kernel, name)
    def exists(self, path):
        return False
def examine(host, place, vmid, compiled_settings, send):
    kernel = Node(Path(host.root))
    guest = start._guest(host, place, vmid)
    node = start.hardware.gather(host, place.node)
    bind.hardware.gather = lambda *_: node
    due = [found for found in start.engine.findings_at_start(guest, node) if found.rule == "vfio-not-bound"]
    return 0 if start._bind(start.Start(kernel, place, None, guest, node), tuple(due), send) else 1
start.examine = examine
main.run()
'''


@pytest.mark.parametrize("whom", ["the guard", "its process group"])
def test_asked_to_end_while_it_binds(whom: str, tmp_path: Path) -> None:
    """PVE asks all processes of a task to end; what was begun is undone."""
    unbound = tmp_path / "unbound"
    root = bed.node(tmp_path / "tree", hostpci=bed.IDLE_DISK)
    program = BINDING.format(project=str(bed.PROJECT), unbound=str(unbound))
    line = [*bed.ISOLATED, "-c", program, "100", "pre-start", "--root", str(root)]
    with kill_on_failure(subprocess.Popen(line, env=bed.environment(), start_new_session=True)) as process:
        limit = time.monotonic() + 120
        while not unbound.exists():
            assert time.monotonic() < limit and process.poll() is None
            time.sleep(0.02)
        (os.kill if whom == "the guard" else os.killpg)(process.pid, signal.SIGTERM)
        assert process.wait(120) == 1
    device = root / "sys/bus/pci/devices" / bed.IDLE_DISK
    assert (device / "driver_override").read_text() == "(null)\n"
    assert os.readlink(device / "driver").endswith("/nvme")


@pytest.mark.parametrize("hostpci", ["0000:01:00,pcie=1", bed.SHARED_WITH_PORT])
@pytest.mark.parametrize("stream", ["", "0<&- 1>&-", "1>&- 2>&-", "0<&- 1>&- 2>&-", ">/dev/full 2>&1", "| :"])
def test_streams_that_take_nothing(stream: str, hostpci: str, tmp_path: Path) -> None:
    root = bed.node(tmp_path, hostpci=hostpci)
    line = f"set -o pipefail; {' '.join(bed.command('100', 'pre-start', '--root', str(root)))} {stream}"
    done = subprocess.run(["bash", "-c", line], env=bed.environment(), capture_output=True, timeout=120, check=False)
    assert done.returncode == (1 if hostpci == bed.SHARED_WITH_PORT else 0), done.stderr
