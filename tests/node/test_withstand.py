"""What a user without rights can do on a node with the installed package: nothing that reaches root, the daemon or a start.

And what hangs around it: the daemon, the command line and starts go on.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from tests.daemon.bed import uefi
from tests.node import bus
from tests.node.conftest import MakeNode
from tests.node.machine import Machine, wait_until
from tests.node.test_hookscripts import PLAIN, SNIPPETS, guest, hook, hookscript, wait_attached

LOCKS = "/run/pvehooks/locks"
ATTACKS = "/srv/pvehooks/tests/node/attacks"
NOBODY = 65534
# By name: the program with its arguments, and whose it is. 105 is a privileged container.
WITHOUT_RIGHTS = {
    "descriptors": ("descriptors.py", NOBODY),
    "processes": ("processes.py", NOBODY),
    "sockets": ("sockets.py", NOBODY),
    "mounts": ("mounts.py", NOBODY),
    "user-fuse": ("hanging_fuse.py /dev/shm/fuse video0", NOBODY),
    "container-fuse": ("hanging_fuse.py /dev/bed/fuse video0 105", 0),
}
# Other guests run, whose owners have written a megabyte into each config.
RUNNERS = range(200, 230)
RUN = """
import os, pathlib, subprocess, sys
os.makedirs("/run/qemu-server", exist_ok=True)
for vmid in map(int, sys.argv[1:]):
    noise = f"#hostpci0: 0000:02:00.0 hostpci1: 0000:04:00.0 {vmid}\\n" * 9000
    text = f"{noise}memory: 512\\nname: r{vmid}\\n[snap]\\nsnaptime: 1800000000\\n{noise}hostpci0: 0000:04:00.0\\n"
    place = pathlib.Path("/etc/pve/nodes/pve1/qemu-server")
    (place / f"{vmid}.conf.tmp.1").write_text(text)
    (place / f"{vmid}.conf.tmp.1").rename(place / f"{vmid}.conf")
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)", "-id", str(vmid)])
    pathlib.Path(f"/run/qemu-server/{vmid}.pid").write_text(f"{child.pid}\\n")
print("ready", flush=True)
child.wait()
"""


def as_user(node: Machine, uid: int, command: str) -> None:
    """Runs a command as that user, without any group; whether it works is of no matter."""
    node.run("setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "sh", "-c", command, check=False)


@contextmanager
def attacked(node: Machine, name: str, program: str, uid: int = 0) -> Iterator[None]:
    """Meanwhile the program runs as a service, and has done what it does."""
    unit = f"attack-{name}"
    found_words = f"/run/{unit}"
    properties = f"--property=TasksMax=infinity --property=StandardOutput=truncate:{found_words}"
    node.sh(f": >{found_words}; systemd-run --quiet --collect --unit={unit} --uid={uid} {properties} python3 {program}")
    try:
        wait_until(lambda: "ready" in node.sh(f"cat {found_words}"), f"{name} is under way", node.state)
        yield
    finally:
        # One that has gone into a container's control group is not the unit's any more.
        node.sh(f"systemctl kill --signal=KILL {unit}; for all in /sys/fs/cgroup/lxc/*/*/cgroup.kill; do echo 1 >$all; done", check=False)
        wait_until(lambda: node.sh(f"systemctl is-active {unit}", check=False).strip() == "inactive", f"{name} has ended", node.state)


def verdicts(node: Machine) -> dict[int, tuple[int, str]]:
    """The status and the words of each guest's start."""
    return {vmid: hook(node, PLAIN, vmid, "pre-start") for vmid in bus.DEVICES}


def prepared(make_node: MakeNode, **details: Any) -> Machine:
    node = make_node(**details)
    node.sh(f"mkdir -p {SNIPPETS}")
    node.install()
    node.wait_active()
    return node


def test_a_user_without_rights_reaches_nothing(make_node: MakeNode) -> None:
    node = prepared(make_node)
    for uid in (NOBODY, 33):
        as_user(node, uid, "mkdir /run/lock/pvehooks")
        as_user(node, uid, "for n in 100 101; do ln -s /root/made-by-root /run/lock/pvehooks/$n.lock; done")
        as_user(node, uid, f"mkdir -p {LOCKS} && ln -s /root/made-by-root {LOCKS}/100.lock")
        as_user(node, uid, f"touch {LOCKS}/mine; mv {LOCKS} {LOCKS}.old; chmod 777 {LOCKS}")
        as_user(node, uid, "touch /run/pvehooks/awaits-pmxcfs")
        as_user(node, uid, "exec setsid flock /run/pvehooks/pvehooksd.lock sleep 600 &")
    node.write(100, guest("one", 100))
    wait_attached(node, 100, PLAIN)
    status, before = hook(node, PLAIN, 100, "pre-start")
    node.run("pvehooks", "allow", "100", "--once", "--reason", "test")
    assert node.sh("ls /root") == "" or "made-by-root" not in node.sh("ls /root")
    assert node.sh(f"stat -c '%u %a' {LOCKS}").strip() == "0 700"

    assert hook(node, PLAIN, 100, "pre-start")[0] == 0
    assert hook(node, PLAIN, 100, "pre-start") == (status, before), "the override is used up"

    node.sh("systemctl restart pvehooks")
    node.wait_active()


def test_no_one_without_rights_changes_a_verdict(make_node: MakeNode) -> None:
    """Starts that were accepted before, and one that never was: within the deadline, and in the same words."""
    node = prepared(make_node)
    bus.furnish(node)
    before = verdicts(node)
    assert {vmid for vmid, (status, _) in before.items() if not status} == bus.HARMLESS, before
    assert "in use through /dev/video1 by sleep" in before[bus.OPEN][1] and "carries vmbr0" in before[bus.PORT][1]
    for name, (program, uid) in WITHOUT_RIGHTS.items():
        with attacked(node, name, f"{ATTACKS}/{program}", uid):
            assert verdicts(node) == before, name
    runners = " ".join(map(str, RUNNERS))
    node.run("sh", "-c", "cat >/srv/run.py", stdin=RUN)
    with attacked(node, "runners", f"/srv/run.py {runners}"):
        assert verdicts(node) == before, "30 running guests"


STORAGES = """\
dir: local
\tpath /var/lib/vz
\tcontent iso,snippets

dir: automounted
\tpath /mnt/automount/below
\tcontent images,snippets

dir: shared
\tpath /mnt/share
\tcontent images,snippets

nfs: remote
\tpath /mnt/remote
\texport /x
\tserver 192.0.2.1
\tcontent images,snippets
"""
LOOKS = ("status", "check", "host check", "report --json")


def test_storages_that_hang_keep_no_start(make_node: MakeNode) -> None:
    """An automount whose server is away, and network storages that answer no more: what is not local is never asked."""
    node = prepared(make_node)
    bus.furnish(node)
    before = verdicts(node)
    with (
        attacked(node, "automount", f"{ATTACKS}/automount.py /mnt/automount"),
        attacked(node, "share", f"{ATTACKS}/hanging_fuse.py /mnt/share file"),
        attacked(node, "remote", f"{ATTACKS}/hanging_fuse.py /mnt/remote file"),
    ):
        for place in ("automount", "share", "remote"):
            assert node.run("timeout", "2", "ls", f"/mnt/{place}", check=False).status == 124, "it does hang"
        set_storages(node, STORAGES)
        for vmid, storage in enumerate(("automounted", "shared", "remote"), 300):
            node.write(vmid, f"{uefi(storage)}hookscript: {storage}:snippets/x\nide2: {storage}:iso/x.iso,media=cdrom\n")
        assert verdicts(node) == before
        for look in LOOKS:
            assert node.run("pvehooks", *look.split(), check=False).status in (0, 1), look
        pid = node.wait_active()
        node.write(400, uefi("new"))
        node.wait_for_rng0(400)
        node.sh("systemctl restart pvehooks")
        assert node.active() and int(node.show("MainPID")) != pid
        node.write(401, uefi("newer"))
        node.wait_for_rng0(401)


DISABLED = "dir: local\n\tpath /var/lib/vz\n\tcontent iso,snippets\n\tdisable\n"
ELSEWHERE = "dir: tank\n\tpath /srv/tank\n\tcontent iso,snippets\n"


def set_storages(node: Machine, text: str) -> None:
    node.run("sh", "-c", "cat >/etc/pve/storage.cfg.tmp.1 && mv /etc/pve/storage.cfg.tmp.1 /etc/pve/storage.cfg", stdin=text)


def test_a_disabled_local_holds_the_hookscripts(make_node: MakeNode) -> None:
    """PVE runs hookscripts from a disabled storage as well; the daemon may write there, and nowhere else."""
    node = prepared(make_node)
    set_storages(node, f"{DISABLED}\n{ELSEWHERE}")
    node.sh("mkdir -p /srv/tank/snippets; systemctl restart pvehooks")
    node.write(100, guest("one", 100))
    wait_attached(node, 100, PLAIN)


def test_hookscripts_elsewhere_after_the_command_of_the_message(make_node: MakeNode) -> None:
    """The sandbox keeps the daemon from other places: each message has the command that helps, to be pasted as it stands."""
    node = prepared(make_node)
    set_storages(node, ELSEWHERE)
    # No place for what runs as root.
    node.sh("chmod g+w /var/lib/vz; mkdir -p /srv/tank; systemctl restart pvehooks")
    node.write(100, guest("one", 100))
    typed = []
    for words in ("Create the directory: ", "Allow the daemon to write there: "):
        message = wait_until(partial(advice, node, words), f"it says: {words}", node.state)
        typed.append(message.partition(words)[2].partition(". ")[0])
        assert hookscript(node, 100) == ""
        node.sh(typed[-1])
    wait_until(lambda: hookscript(node, 100) == f"tank:snippets/{PLAIN}", "the guard is attached", node.state)
    assert node.sh("ls /srv/tank/snippets").split() == [PLAIN], typed


def advice(node: Machine, words: str) -> str:
    """The last message of the journal with these words, '' for none."""
    return next((line for line in reversed(lines(node, 0)) if words in line), "")


# -- pmxcfs that hangs ------------------------------------------------------------------------------------------------

MOST_LINES = 10


def lines(node: Machine, since: float) -> list[str]:
    """What the package's units and systemd say of them in the journal since then."""
    shown = node.sh(f"journalctl --sync; journalctl --quiet --no-pager --output=cat --since=@{since:.6f} --unit='pvehooks*'")
    return shown.splitlines()


def now(node: Machine) -> float:
    return float(node.sh("date +%s.%N"))


def test_a_stopped_pmxcfs_is_waited_for_quietly(make_node: MakeNode) -> None:
    """100 seconds, which is more than any time limit of the unit."""
    node = prepared(make_node)
    node.write(100, uefi("web"))
    node.wait_for_rng0(100)
    pid = node.wait_active()
    since = now(node)
    node.sh("systemctl kill --kill-who=main --signal=STOP pve-cluster; touch /var/lib/pve-cluster/config.db-probe")
    began = time.monotonic()
    wait_until(lambda: node.entries("PVEHOOKS_EVENT=pmxcfs-away"), "it says that pmxcfs hangs", node.state)
    (entry,) = node.entries("PVEHOOKS_EVENT=pmxcfs-away")
    stopped = node.show("MainPID", "pve-cluster.service")
    assert f"its process {stopped} is stopped" in entry["MESSAGE"] and f"kill -CONT {stopped}" in entry["MESSAGE"]
    status = node.run("pvehooks", "status", check=False)
    assert status.status == 3, status
    assert f"pmxcfs hangs: its process {stopped} is stopped" in status.err and f"kill -CONT {stopped}" in status.err
    time.sleep(max(0.0, 100 - (time.monotonic() - began)))
    assert node.active() and int(node.show("MainPID")) == pid and node.show("NRestarts") == "0"
    assert len(lines(node, since)) == 1, lines(node, since)

    # Started meanwhile, as by dpkg: nobody waits for it, and it is there once pmxcfs answers.
    node.sh("systemctl restart pvehooks")
    assert not node.active()
    time.sleep(30)
    node.sh(f"kill -CONT {stopped}")
    node.wait_active()
    node.write(101, uefi("later"))
    node.wait_for_rng0(101)
    found_words = lines(node, since)
    assert len(found_words) <= 2 * MOST_LINES and len([line for line in found_words if "hangs" in line]) == 2, found_words


def test_a_stop_ends_the_waiting(make_node: MakeNode) -> None:
    """What the administrator stops while pmxcfs hangs is not started when it answers."""
    node = prepared(make_node)
    node.sh("systemctl kill --kill-who=main --signal=STOP pve-cluster; systemctl restart pvehooks")
    assert node.active("pvehooks-await.service") and not node.active()
    node.sh("systemctl stop pvehooks; systemctl kill --kill-who=main --signal=CONT pve-cluster; sleep 6")
    assert not node.active() and not node.active("pvehooks-await.service")


def test_a_dead_mount_is_waited_for_quietly(make_node: MakeNode) -> None:
    """pmxcfs was killed, and nobody starts it again for a while."""
    node = prepared(make_node)
    node.sh("systemctl mask --runtime pve-cluster; systemctl kill --signal=SIGKILL pve-cluster")
    wait_until(lambda: not node.active("pve-cluster.service"), "it has ended", node.state)
    since = now(node)
    node.sh("systemctl restart pvehooks", check=False)
    time.sleep(30)
    found_words = lines(node, since)
    assert len(found_words) <= MOST_LINES and len([line for line in found_words if "pmxcfs has ended" in line]) == 1, found_words
    node.sh("systemctl unmask --runtime pve-cluster; systemctl start pve-cluster")
    node.wait_active()
    node.write(100, uefi())
    node.wait_for_rng0(100)
