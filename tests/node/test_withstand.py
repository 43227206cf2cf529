"""What a user without rights can do on a node with the installed package: nothing that reaches root, the daemon or a start."""

from __future__ import annotations

from tests.node.conftest import MakeNode
from tests.node.machine import Machine, wait_until
from tests.node.test_hookscripts import PLAIN, SNIPPETS, guest, hook, wait_attached

LOCKS = "/run/pvehooks/locks"
# 60 processes with as many open files as the system lets them have, at most 20000 each.
FILL = """
import os, resource, signal
most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
os.setgid(65534)
os.setuid(65534)
for _ in range(60):
    ours, theirs = os.pipe()
    if not os.fork():
        descriptor = os.open("/", os.O_RDONLY)
        for _ in range(min(most, 20100) - 1000):
            os.dup(descriptor)
        os.write(theirs, b"1")
        signal.pause()
    os.read(ours, 1)
open("/tmp/filled", "w").close()
signal.pause()
"""


def as_user(node: Machine, uid: int, command: str) -> None:
    """Runs a command as that user, without any group; whether it works is of no matter."""
    node.run("setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "sh", "-c", command, check=False)


def test_a_user_without_rights_reaches_nothing(make_node: MakeNode) -> None:
    node = make_node()
    node.sh(f"mkdir -p {SNIPPETS}")
    node.install()
    node.wait_active(40)
    for uid in (65534, 33):
        as_user(node, uid, "mkdir /run/lock/pvehooks")
        as_user(node, uid, "for n in 100 101; do ln -s /root/made-by-root /run/lock/pvehooks/$n.lock; done")
        as_user(node, uid, f"mkdir -p {LOCKS} && ln -s /root/made-by-root {LOCKS}/100.lock")
        as_user(node, uid, f"touch {LOCKS}/mine; mv {LOCKS} {LOCKS}.old; chmod 777 {LOCKS}")
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
    node.wait_active(40)

    node.run("sh", "-c", "cat >/tmp/fill.py", stdin=FILL)
    node.sh("rm -f /tmp/filled; systemd-run --unit=fill python3 /tmp/fill.py")
    wait_until(lambda: node.run("test", "-e", "/tmp/filled", check=False).status == 0, "the files are open", 120, node.state)
    assert hook(node, PLAIN, 100, "pre-start") == (status, before)
    node.sh("systemctl kill -s KILL fill")
