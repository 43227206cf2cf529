"""What the guard does when it cannot look: its own mistakes, files that cannot be read, a look that hangs, bad input."""

from __future__ import annotations

import fcntl
import os
import py_compile
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.guard import bed

REFUSED = "pvehooks: VM 100 is not started: it could not be examined, and "
KNOWN = "pvehooks: VM 100 starts unexamined: its devices and their IOMMU groups are those of its last accepted start.\n"


# -- how it is called -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", ["post-start", "pre-stop", "post-stop"])
def test_other_phases_are_silent(phase: str, tmp_path: Path) -> None:
    root = bed.node(tmp_path, hostpci=bed.SHARED_WITH_PORT)
    assert bed.guard("100", phase, "--root", str(root)) == (0, "")
    assert bed.guard("x/../y", phase, "--root", str(root)) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["100", "pre-freeze"], 0, "'pre-freeze' is no phase of a hookscript"),
        (["100", "\x1b[2J"], 0, "'\\x1b[2J' is no phase of a hookscript"),
        (["web", "pre-start"], 1, "'web' is no VMID"),
        (["0100", "pre-start"], 1, "'0100' is no VMID"),
        (["../100", "pre-start"], 1, "'../100' is no VMID"),
        (["9" * 5000, "pre-start"], 1, "is no VMID"),
        (["\u0661\u0660\u0660", "pre-start"], 1, "is no VMID"),
        (["100"], 1, "usage: guard VMID PHASE"),
        ([], 1, "usage: guard VMID PHASE"),
        (["100", "pre-start", "--rot", "/"], 1, "usage: guard VMID PHASE"),
    ],
)
def test_bad_arguments(arguments: list[str], status: int, words: str) -> None:
    ran = bed.guard(*arguments)
    assert ran.status == status
    assert words in ran.out and ran.out.count("\n") == 1


def test_a_tree_that_is_none(tmp_path: Path) -> None:
    ran = bed.start(tmp_path)
    assert ran.status == 1 and "is not a tree of a Proxmox VE node" in ran.out


# -- what cannot be read ----------------------------------------------------------------------------------------------


def unreadable(path: Path) -> None:
    """Makes of a file what gives EISDIR (root reads whatever the mode says)."""
    path.unlink()
    path.mkdir()


def iommu_unreadable(root: Path) -> None:
    """Whether there is an IOMMU cannot be read: iommu-off, which refuses starts, is not examined."""
    units = root / "sys/class/iommu"
    shutil.rmtree(units)
    units.write_text("")


def test_what_could_not_be_examined_is_said(tmp_path: Path) -> None:
    root = bed.node(tmp_path)
    assert bed.start(root) == (0, "")
    iommu_unreadable(root)
    ran = bed.start(root)
    first = "pvehooks: VM 100: the start could not be examined: whether the node has an IOMMU is unknown: "
    assert ran.status == 0 and ran.out.startswith(first) and ran.out.endswith(f"[iommu-off]\n{KNOWN}")
    assert ran.out.count("\n") == 2


def test_known_or_not(tmp_path: Path) -> None:
    """Without a look: allowed where lines, devices and group members are those of the last accepted start, else refused."""
    root = bed.node(tmp_path)
    assert bed.start(root) == (0, "")
    config, card = root / bed.NODE / "100.conf", root / "sys/devices/pci0000:00/0000:01:00.0"
    member = root / "sys/kernel/iommu_groups/1/devices/0000:04:00.0"
    text = config.read_text()

    def without_a_look() -> str:
        status, out = broken(root, "raise KeyError")
        assert status == (0 if out.endswith(KNOWN) else 1)
        return out

    assert without_a_look().endswith(KNOWN)
    config.write_text(text.replace("pcie=1", "pcie=1,rombar=0"))
    assert REFUSED + "its hostpci lines are not those of its last accepted start" in without_a_look()
    config.write_text(text.replace("b3247ab1", "00000000"))
    assert REFUSED + "no start of it was accepted before" in without_a_look()
    config.write_text(text + "\n[before]\nhostpci1: 0000:09:00.0\nsnaptime: 1\n")
    assert without_a_look().endswith(KNOWN)
    (card / "device").write_text("0x9999\n")
    assert REFUSED + "0000:01:00.0 is another device" in without_a_look()
    (card / "device").write_text("0x2204\n")
    member.symlink_to("../../../../devices/pci0000:00/0000:04:00.0")
    assert REFUSED + "0000:04:00.0 shares an IOMMU group with 0000:01:00.0 now" in without_a_look()
    (root / "sys/devices/pci0000:00/0000:04:00.0/pci_bus").mkdir()
    assert without_a_look().endswith(KNOWN), "a bridge is never taken"
    (card / "iommu_group").unlink()
    assert REFUSED + "0000:01:00.0 has no IOMMU group" in without_a_look()
    (root / bed.RECORD).write_text(
        '{"uuid": null, "ctime": 1700000000, "accepted": {"pve1": {"hostpci": {"hostpci0": "0000:01:00,pcie=1"}}}}'
    )
    assert REFUSED + "what is noted of its last accepted start cannot be understood" in without_a_look()
    (root / bed.RECORD).unlink()
    assert REFUSED + "no start of it was accepted before" in without_a_look()


def test_a_mapping_may_name_other_devices_under_the_same_line(tmp_path: Path) -> None:
    mapping = "gpu\n\tmap id=10de:2204,iommugroup=1,node=pve1,path=0000:01:00.0\n"
    root = bed.node(tmp_path, {"etc/pve/mapping/pci.cfg": mapping}, hostpci="mapping=gpu,pcie=1")
    assert bed.start(root) == (0, "")
    assert broken(root, "raise KeyError")[1].endswith(KNOWN)
    (root / "etc/pve/mapping/pci.cfg").write_text(mapping.replace("01:00.0", "02:00.0"))
    assert REFUSED + "the mapping 'gpu' names 0000:02:00.0, which was not among" in broken(root, "raise KeyError")[1]
    (root / "etc/pve/mapping/pci.cfg").unlink()
    assert REFUSED in broken(root, "raise KeyError")[1]


@pytest.mark.parametrize(
    ("settings", "status", "words"),
    [
        ("[guard]\non_error = allow\n", 0, "VM 100 starts unexamined: as the settings have it"),
        ("[guard]\non_error = block\n", 1, REFUSED + "[guard] on_error = block"),
        ("[guard]\nmode = audit\n", 0, "VM 100 starts unexamined: as the settings have it"),
        ("[guest 100]\n[[guard]]\non_error = allow\n", 0, "VM 100 starts unexamined"),
    ],
)
def test_on_error_otherwise(settings: str, status: int, words: str, tmp_path: Path) -> None:
    root = bed.node(tmp_path)
    unreadable(root / bed.NODE / "100.conf")
    bed.settings(root, settings)
    ran = bed.start(root)
    assert (ran.status, ran.out.count("\n") <= 3) == (status, True)
    assert words in ran.out and "the config cannot be read: Is a directory" in ran.out


def test_a_person_s_word_counts_without_a_look(tmp_path: Path) -> None:
    root = bed.node(tmp_path)
    bed.pvehooks(root, "allow", "100", "--once", "--reason", "the card must come up")
    iommu_unreadable(root)
    ran = bed.start(root)
    assert ran.status == 0 and "allowed it: the card must come up" in ran.out
    assert bed.start(root).status == 1, "and is used up"


def test_no_config_at_all(tmp_path: Path) -> None:
    root = bed.node(tmp_path)
    (root / bed.NODE / "100.conf").unlink()
    assert bed.start(root).status == 1


@pytest.mark.parametrize(
    ("content", "accepted"),
    [
        ('{"version": 1, "accepted": 5}', True),
        ("{", True),
        ("", True),
        ('{"version": 1, "uuid": "b3247ab1-1fe6-428e-965b-08a1b64a8746", "ctime": 1700000000, "accepted": {"members": 5}}', True),
    ],
)
def test_broken_records(content: str, accepted: bool, tmp_path: Path) -> None:
    root = bed.node(tmp_path, {bed.RECORD: content})
    assert bed.start(root) == (0, "")
    assert ("accepted" in bed.record(root)) is accepted
    (root / bed.RECORD).write_text(content)
    unreadable(root / bed.NODE / "100.conf")
    assert bed.start(root).status == 1


def test_a_record_that_cannot_be_written_is_no_reason_to_refuse(tmp_path: Path) -> None:
    root = bed.node(tmp_path, {"etc/pve/pvehooks": ""})
    ran = bed.start(root)
    assert ran.status == 0 or "could not be examined" in ran.out
    root = bed.node(tmp_path / "locked", {"run/lock/pvehooks/100.lock": ""})
    with (root / "run/lock/pvehooks/100.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ran = bed.start(root)
    assert ran.status == 0 and "what it starts with could not be noted: another process holds the lock" in ran.out


# -- settings ---------------------------------------------------------------------------------------------------------


def test_broken_settings(tmp_path: Path) -> None:
    root = bed.node(tmp_path, hostpci=bed.IDLE_DISK)
    bed.settings(root, "[guard]\nunbound = blok\n")
    ran = bed.start(root)
    assert ran.status == 0
    first = "pvehooks: settings not used, the built-in ones hold: /etc/pvehooks/pvehooks.conf, line 2: 'blok' is no value for 'unbound'"
    assert ran.out.startswith(first)


def test_the_compiled_copy(tmp_path: Path) -> None:
    """It counts while its sources are unchanged, and when they are broken."""
    from pvehooks import settings
    from pvehooks.host import Host

    root = bed.node(tmp_path, hostpci=bed.IDLE_DISK)
    host = Host(str(root))
    bed.settings(root, "[guard]\nunbound = block\n")
    settings.compile_to(host, settings.load(host))
    assert bed.start(root).status == 1
    bed.settings(root, "[guard]\nunbound = leave\n")
    assert bed.start(root).status == 0
    bed.settings(root, "[guard]\nunbound = \n")
    # Also after a boot.
    shutil.rmtree(root / "run/pvehooks", ignore_errors=True)
    ran = bed.start(root)
    assert ran.status == 1 and "settings not used, the last good ones hold: " in ran.out
    (root / "var/lib/pvehooks/settings.json").write_text('{"version": 5}')
    assert "the built-in ones hold" in bed.start(root).out


# -- the process ------------------------------------------------------------------------------------------------------


def broken(root: Path, look: str) -> tuple[int, str]:
    """The guard with another look at the start."""
    program = f"""
import os, signal, sys, time
sys.path.insert(0, {str(bed.PROJECT)!r})
from pvehooks import guard
from pvehooks.guarding import start
def look(host, place, vmid, copy, tell):
    {look}
start.look = look
guard.run()
"""
    line = ["/usr/bin/python3", "-I", "-c", program, "100", "pre-start", "--root", str(root)]
    done = subprocess.run(line, env=bed.environment(), capture_output=True, text=True, timeout=30, check=False)
    assert done.stderr == ""
    return done.returncode, done.stdout


@pytest.mark.parametrize(
    ("look", "words"),
    [
        ("raise KeyError('x')", "the guard made a mistake (KeyError), please report it: journalctl -t pvehooks-guard"),
        ("raise RecursionError", "the guard made a mistake (RecursionError)"),
        ("sys.exit(0)", ""),
        ("os.kill(os.getpid(), 9)", "the look was ended by signal 9"),
        ("os.kill(os.getpid(), 15)", "the look was ended by signal 15"),
        ("tell('settings 1 known'); time.sleep(30)", "the look took longer than 1 s ([guard] deadline) and was given up"),
        ("signal.signal(15, signal.SIG_IGN); tell('settings 1 known'); time.sleep(30)", "took longer than 1 s"),
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
        ("tell('verdict 0'); raise KeyError", 0, "made a mistake"),
        ("tell('verdict 1'); raise KeyError", 1, "made a mistake"),
        ("tell('verdict 0'); tell('noting'); os.kill(os.getpid(), 9)", 0, "signal 9"),
        ("tell('verdict 0'); tell('binding'); os.kill(os.getpid(), 9)", 1, "signal 9"),
    ],
)
def test_a_verdict_stands_whatever_comes_after(look: str, status: int, words: str, tmp_path: Path) -> None:
    ran = broken(bed.node(tmp_path), look)
    assert ran[0] == status and words in ran[1]


def test_lines_before_the_deadline_come_through_in_order(tmp_path: Path) -> None:
    look = "from pvehooks.guarding.words import say; tell('settings 1 allow'); say('first'); say('second'); time.sleep(30)"
    status, out = broken(bed.node(tmp_path), look)
    assert status == 0
    assert out.splitlines()[:2] == ["pvehooks: first", "pvehooks: second"] and "took longer" in out.splitlines()[2]


def test_asked_to_end(tmp_path: Path) -> None:
    program = f"""
import sys, time
sys.path.insert(0, {str(bed.PROJECT)!r})
from pvehooks import guard
from pvehooks.guarding import start
def look(*_):
    open({str(tmp_path / "looking")!r}, "w").write(str(__import__("os").getpid()))
    time.sleep(30)
start.look = look
guard.run()
"""
    root = bed.node(tmp_path / "tree")
    line = ["/usr/bin/python3", "-I", "-c", program, "100", "pre-start", "--root", str(root)]
    with subprocess.Popen(line, env=bed.environment()) as process:
        limit = time.monotonic() + 30
        while not (tmp_path / "looking").exists() or not (tmp_path / "looking").read_text():
            assert time.monotonic() < limit
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 1
    child = int((tmp_path / "looking").read_text())
    limit = time.monotonic() + 30
    while os.path.exists(f"/proc/{child}") and "Z" not in Path(f"/proc/{child}/stat").read_text().split(")")[1][:3]:
        assert time.monotonic() < limit, "the look goes on without anybody who waits for it"
        time.sleep(0.02)


BINDING = '''
import os, signal, sys, time
from pathlib import Path
sys.path.insert(0, {project!r})
from pvehooks import guard
from pvehooks.actions import bind
from pvehooks.guarding import start
from tests.actions.kernel import BUS, Kernel
from tests.guard import bed
def slow(host, path, text):
    former(host, path, text)
    if path.endswith("/driver/unbind") and not told.exists():
        told.write_text("unbound")
        time.sleep(0.3)
former, told = Kernel.write_attribute, Path({told!r})
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
def look(host, place, vmid, copy, tell):
    kernel = Node(Path(host.root))
    guest = start._guest(host, place, vmid)
    node = start.hardware.gather(host, place.node)
    bind.hardware.gather = lambda *_: node
    due = [found for found in start.start.look_at_start(guest, node) if found.rule == "vfio-not-bound"]
    return 0 if start._bound(start.Start(kernel, place, None, guest, node), tuple(due), tell) else 1
start.look = look
guard.run()
'''


@pytest.mark.parametrize("whom", ["the guard", "its process group"])
def test_asked_to_end_while_it_binds(whom: str, tmp_path: Path) -> None:
    """PVE asks all processes of a task to end; what was begun is undone."""
    told = tmp_path / "told"
    root = bed.node(tmp_path / "tree", hostpci=bed.IDLE_DISK)
    program = BINDING.format(project=str(bed.PROJECT), told=str(told))
    line = ["/usr/bin/python3", "-I", "-c", program, "100", "pre-start", "--root", str(root)]
    with subprocess.Popen(line, env=bed.environment(), start_new_session=True) as process:
        limit = time.monotonic() + 30
        while not told.exists():
            assert time.monotonic() < limit and process.poll() is None
            time.sleep(0.02)
        (os.kill if whom == "the guard" else os.killpg)(process.pid, signal.SIGTERM)
        assert process.wait(30) == 1
    device = root / "sys/bus/pci/devices" / bed.IDLE_DISK
    assert (device / "driver_override").read_text() == "(null)\n"
    assert os.readlink(device / "driver").endswith("/nvme")


@pytest.mark.parametrize("hostpci", ["0000:01:00,pcie=1", bed.SHARED_WITH_PORT])
@pytest.mark.parametrize("stream", ["", "0<&- 1>&-", "1>&- 2>&-", "0<&- 1>&- 2>&-", ">/dev/full 2>&1", "| :"])
def test_streams_that_take_nothing(stream: str, hostpci: str, tmp_path: Path) -> None:
    root = bed.node(tmp_path, hostpci=hostpci)
    line = f"set -o pipefail; {' '.join(bed.command('100', 'pre-start', '--root', str(root)))} {stream}"
    done = subprocess.run(["bash", "-c", line], env=bed.environment(), capture_output=True, timeout=30, check=False)
    assert done.returncode == (1 if hostpci == bed.SHARED_WITH_PORT else 0), done.stderr


def program_of(package: Path, directory: Path) -> list[str]:
    """The guard's program as installed, with its package elsewhere."""
    copy = directory / "guard"
    copy.write_text((bed.PROJECT / "libexec/guard").read_text().replace("/usr/lib/python3/dist-packages", str(package)))
    return ["/usr/bin/python3", "-IS", str(copy), "100", "pre-start"]


def damaged(directory: Path, module: str, content: str) -> list[str]:
    """The guard with one module of its package changed."""
    shutil.copytree(bed.PROJECT / "pvehooks", directory / "lib/pvehooks", ignore=shutil.ignore_patterns("__pycache__"))
    (directory / "lib/pvehooks" / module).write_text(content)
    return program_of(directory / "lib", directory)


@pytest.mark.parametrize(
    ("module", "content", "status", "words"),
    [
        # At the top: nothing of the guard is there.
        ("guard.py", "raise NameError('x')\n", 0, "pvehooks: the guard is not there (NameError: x): VM 100 starts without it\n"),
        ("__init__.py", "1 +\n", 0, "pvehooks: the guard is not there (SyntaxError: "),
        # In the watch, in the look and in what only counts: what is known goes on.
        ("guarding/child.py", "", 0, KNOWN),
        ("guarding/start.py", "raise AttributeError\n", 0, KNOWN),
        ("starts.py", "raise NameError\n", 0, KNOWN),
        # In what the comparison stands on.
        ("values/guests.py", "raise NameError\n", 1, "pvehooks:   The guard seems to be damaged: apt install --reinstall pvehooks."),
    ],
)
def test_a_damaged_module(module: str, content: str, status: int, words: str, tmp_path: Path) -> None:
    root = bed.node(tmp_path / "tree")
    assert bed.start(root).status == 0
    line = damaged(tmp_path, module, content)
    done = subprocess.run([*line, "--root", str(root)], env=bed.environment(), capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (status, "") and words in done.stdout, done


@pytest.mark.parametrize("module", ["guard", "guarding/child", "values/__init__", "facts/guests/configs", "rules/start"])
def test_a_damaged_compiled_file(module: str, tmp_path: Path) -> None:
    """As a power loss leaves it while a package is unpacked: the sources are there."""
    root = bed.node(tmp_path / "tree")
    assert bed.start(root).status == 0
    line = damaged(tmp_path, "__init__.py", (bed.PROJECT / "pvehooks/__init__.py").read_text())
    source = tmp_path / f"lib/pvehooks/{module}.py"
    compiled = source.parent / "__pycache__" / f"{source.stem}.{sys.implementation.cache_tag}.pyc"
    py_compile.compile(str(source), str(compiled), doraise=True)
    compiled.write_bytes(compiled.read_bytes()[:100])
    done = subprocess.run([*line, "--root", str(root)], env=bed.environment(), capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done
    assert done.stdout in ("", KNOWN) or done.stdout.endswith(KNOWN), done


def test_the_program_without_its_package(tmp_path: Path) -> None:
    """While the package is being installed or removed, the guard is as good as absent: the guest starts."""
    line = program_of(tmp_path, tmp_path)
    done = subprocess.run(line, env=bed.environment(), capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "pvehooks: the guard is not there (No module named 'pvehooks'): VM 100 starts without it\n"
    line = program_of(bed.PROJECT, tmp_path)
    root = bed.node(tmp_path / "tree", hostpci=bed.SHARED_WITH_PORT)
    done = subprocess.run([*line, "--root", str(root)], env=bed.environment(), capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1 and "[group-in-use-by-host]" in done.stdout
