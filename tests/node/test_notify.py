"""Messages to people on a booted node with the installed package: from a start that fails to who gets the message, through the unit's sandbox."""

from __future__ import annotations

import json
import re
import shutil
import time

import pytest

from tests.beds.notifying import MODULES
from tests.node.conftest import MakeNode
from tests.node.machine import Machine, wait_until
from tests.node.test_failed_starts import NO_BRIDGE, TASKS, task

UNIT = "pvehooks-notify.service"
TEMPLATES = "usr/share/pve-manager/templates/default"
# What it posts is a line in /run/posted; a status other than 200 is in /run/status.
WEB_SERVER = """\
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status = int(open("/run/status").read()) if os.path.exists("/run/status") else 200
        if status == 200:
            open("/run/posted", "ab").write(body + b"\\n")
        self.send_response(status)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", 8025), Handler).serve_forever()
"""
SENDMAIL = "#!/bin/sh\ncat >>/var/spool/postfix/maildrop/mail\n"
LEAVE = """
from pvehooks.host import Host
from pvehooks.journal import entries, outbox
assert outbox.leave(Host(), entries.event("failed", "it cannot run", "pve1"))
"""
PROGRAM = "#!/bin/sh\ncat >>/var/lib/pvehooks/notify/given\n"


def with_pve(node: Machine) -> None:
    """The node has Proxmox VE's notifications with one target, a web server on loopback."""
    shutil.copy(MODULES / "PVE/Notify.pm", node.root / "usr/share/perl5/PVE")
    (node.root / TEMPLATES).mkdir(parents=True, exist_ok=True)
    (node.root / "srv/web.py").write_text(WEB_SERVER)
    node.sh(
        "systemd-run --quiet --unit=bed-web python3 /srv/web.py && echo 'webhook hook http://127.0.0.1:8025/' >/etc/pve/notifications.cfg"
    )


def posted(node: Machine) -> list[dict[str, object]]:
    """What the web server got."""
    return [json.loads(line) for line in node.sh("cat /run/posted 2>/dev/null", check=False).splitlines() if line.startswith("{")]


def state(node: Machine) -> str:
    return node.sh(
        f"systemctl status --no-pager {UNIT} pvehooks-notify.path; journalctl --no-pager -n 40; ls -lR /var/lib/pvehooks/notify",
        check=False,
    )


@pytest.fixture
def node(make_node: MakeNode) -> Machine:
    node = make_node()
    with_pve(node)
    node.sh(f"mkdir -p {TASKS} /var/lib/vz/snippets")
    node.install()
    node.wait_active()
    wait_until(lambda: node.active("pvehooks-notify.path"), "the path unit is active", lambda: state(node))
    node.write(100, "name: web\nmemory: 512\nscsi0: local:100/vm-100-disk-0.qcow2,size=32G\n")
    return node


def test_a_failed_start_reaches_a_person(node: Machine) -> None:
    assert not node.active(UNIT)
    task(node, int(time.time()), NO_BRIDGE)
    wait_until(lambda: posted(node), "the message arrives", lambda: state(node))
    (message,) = posted(node)
    assert message["subject"] == "pvehooks on pve1: start failed: VM 100 (web)"
    assert message["severity"] == "error"
    assert message["fields"] == {"type": "pvehooks", "hostname": "pve1", "event": "failed_starts"}
    assert "the bridge vmbr9 does not exist on this node" in str(message["text"])
    wait_until(lambda: not node.active(UNIT), "the service ends", lambda: state(node))
    assert node.show("Result", UNIT) == "success"

    # By sendmail where Proxmox VE has no notifications, and by the node's own programs.
    (node.root / "usr/share/perl5/PVE/Notify.pm").unlink()
    node.run("sh", "-c", "mkdir -p /var/spool/postfix/maildrop; cat >/usr/sbin/sendmail; chmod 755 /usr/sbin/sendmail", stdin=SENDMAIL)
    node.run("sh", "-c", "cat >/etc/pvehooks/notify.d/own; chmod 755 /etc/pvehooks/notify.d/own", stdin=PROGRAM)
    done = node.run("pvehooks", "notify", "--test", check=False)
    assert done.status == 0, done.out + done.err + state(node)
    assert done.out.startswith("handed over: /usr/sbin/sendmail has it, for root")
    assert done.out.endswith("handed over: /etc/pvehooks/notify.d/own has it\n")
    assert "Subject: pvehooks on pve1: test\n" in node.sh("cat /var/spool/postfix/maildrop/mail")
    assert json.loads(node.sh("cat /var/lib/pvehooks/notify/given"))["severity"] == "notice"


def test_a_refused_start_reaches_a_person_once(node: Machine) -> None:
    """The guard leaves it; the task that Proxmox VE then ends with an error is the same start."""
    node.write(101, "name: gpu\nmemory: 512\nhostpci0: 0000:99:00.0\n")
    done = node.run("/usr/libexec/pvehooks/hookscript", "101", "pre-start", check=False)
    assert done.status == 1, done.out + done.err
    task(
        node, int(time.time()), f"{done.out}{done.err}TASK ERROR: hookscript error for 101 on pre-start: command 'x' failed: exit code 1\n"
    )
    wait_until(lambda: posted(node), "the message arrives", lambda: state(node))
    wait_until(lambda: not node.active(UNIT), "the service ends", lambda: state(node))
    (message,) = posted(node)
    assert message["subject"] == "pvehooks on pve1: start refused: VM 101 (gpu)", message["text"]
    assert message["fields"] == {"type": "pvehooks", "hostname": "pve1", "event": "refused_starts"}
    assert "0000:99:00.0" in str(message["text"])
    assert "start-failed" not in str(message["text"])


def test_what_is_not_handed_over_survives_a_kill_and_a_boot(node: Machine) -> None:
    node.sh("echo 503 >/run/status")
    task(node, int(time.time()), NO_BRIDGE)
    wait_until(lambda: "503" in node.sh("pvehooks notify --json"), "it is tried", lambda: state(node))
    node.sh(f"systemctl kill --signal=KILL {UNIT}")
    wait_until(lambda: not node.active(UNIT), "it is killed", lambda: state(node))
    assert json.loads(node.sh("pvehooks notify --json"))["waiting"]
    node.reboot()
    node.sh(
        "systemd-run --quiet --unit=bed-web python3 /srv/web.py && echo 'webhook hook http://127.0.0.1:8025/' >/etc/pve/notifications.cfg"
    )
    wait_until(lambda: posted(node), "the message arrives", lambda: state(node))
    assert [message["subject"] for message in posted(node)] == ["pvehooks on pve1: start failed: VM 100 (web)"]


def test_a_pmxcfs_that_hangs_delays_a_message(node: Machine) -> None:
    """Settings and targets are in it; the message waits in its file."""
    node.sh("systemctl kill --kill-who=main --signal=STOP pve-cluster")
    node.run("python3", "-c", LEAVE)
    wait_until(lambda: node.show("ActiveState", UNIT) != "inactive", "the service is started", lambda: state(node))
    assert not posted(node)
    node.sh("systemctl kill --kill-who=main --signal=CONT pve-cluster")
    wait_until(lambda: posted(node), "the message arrives", lambda: state(node))
    assert [message["subject"] for message in posted(node)] == ["pvehooks on pve1: error of pvehooks"]


def test_the_sandbox(node: Machine) -> None:
    exposure = node.sh(f"systemd-analyze security --no-pager {UNIT}", check=False)
    found = re.search(r"exposure level for pvehooks-notify.service: ([\d.]+)", exposure)
    assert found, exposure
    assert float(found[1]) < 4.0, exposure
    probes = {
        "write-etc": "echo x >/etc/probe",
        "write-pmxcfs": "echo x >/etc/pve/probe",
        "write-state": "echo x >/var/lib/pvehooks/probe",
        "write-snippets": "mkdir -p /var/lib/vz/snippets && echo x >/var/lib/vz/snippets/probe",
        "write-run": "echo x >/run/probe",
        "write-cron": "mkdir -p /var/spool/cron/crontabs && echo x >/var/spool/cron/crontabs/probe",
        "ask-systemd": "systemctl show --property=Version",
        "mount": "mount -t tmpfs tmpfs /mnt",
        "user-namespace": "unshare --user true",
        "read-root": "ls /root/.bashrc",
    }
    needed = {
        "network": 'python3 -c \'import urllib.request; urllib.request.urlopen(urllib.request.Request("http://127.0.0.1:8025/", data=b"{}"))\'',
        "write-spool": "mkdir -p /var/spool/postfix && touch /var/spool/postfix/probe",
        "become-another-user": "setpriv --reuid=1 --regid=1 --clear-groups true",
    }
    script = "".join(f"if ({command}) >/dev/null 2>&1; then echo {name}; fi\n" for name, command in {**probes, **needed}.items())
    node.sh("mkdir -p /var/spool/postfix /var/lib/vz/snippets; touch /root/.bashrc")
    node.run(
        "sh",
        "-c",
        "cat >/etc/pvehooks/notify.d/probe; chmod 755 /etc/pvehooks/notify.d/probe",
        stdin=f"#!/bin/sh\nexec >/var/lib/pvehooks/notify/probes\n{script}",
    )
    done = node.run("pvehooks", "notify", "--test", check=False)
    assert "notify.d/probe has it" in done.out, done.out + done.err + state(node)
    assert node.sh("cat /var/lib/pvehooks/notify/probes").split() == list(needed)
    # Outside of the sandbox all of it works: the probes themselves are right.
    outside = node.sh(f"{script}rm -f /etc/pve/probe /run/probe").split()
    assert set(probes) - set(outside) <= {"mount", "user-namespace", "ask-systemd"}


def test_removal_leaves_nothing(node: Machine) -> None:
    node.apt("purge", "pvehooks")
    assert (
        node.sh("ls -d /var/lib/pvehooks /etc/pvehooks /usr/share/pve-manager/templates/default/pvehooks-* 2>/dev/null", check=False) == ""
    )
    assert "pvehooks" not in node.sh("systemctl list-units --all --no-legend --plain 'pvehooks*'; systemctl --failed --no-legend --plain")
