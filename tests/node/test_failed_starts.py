"""A start that fails, as Proxmox VE notes it, on a node with the installed package: the service reads it from within its sandbox."""

from __future__ import annotations

from typing import Any

from tests.node.conftest import MakeNode
from tests.node.machine import Machine, wait_until

TASKS = "/var/log/pve/tasks"
# As PVE writes them (pve-common, PVE/UPID.pm, PVE/RESTEnvironment.pm): the log is www-data's, `index` is appended to, `active` replaced.
WRITE = f"""
set -eu
umask 022
upid="UPID:pve1:0000A1B2:00C0FFEE:$(printf %08X "$1"):qmstart:100:root@pam:"
folder={TASKS}/$(printf %X $(($1 % 16)))
mkdir -p "$folder"
cat >"$folder/$upid"
chmod 640 "$folder/$upid"
chown www-data "$folder/$upid"
status=$(tail -n 1 "$folder/$upid")
case $status in "TASK OK") status=OK;; *) status=${{status#TASK ERROR: }};; esac
printf '%s %08X %s\\n' "$upid" $(($1 + 1)) "$status" >>{TASKS}/index
printf '%s 1 %08X %s\\n' "$upid" $(($1 + 1)) "$status" >{TASKS}/active.tmp
mv {TASKS}/active.tmp {TASKS}/active
"""
NO_BRIDGE = """\
bridge 'vmbr9' does not exist
kvm: -netdev type=tap,id=net0,ifname=tap100i0: network script /usr/libexec/qemu-server/pve-bridge failed with status 512
TASK ERROR: start failed: QEMU exited with code 1
"""


def task(node: Machine, started: int, log: str) -> None:
    """A task of VM 100 that began then, and has ended."""
    node.run("sh", "-c", WRITE, "sh", str(started), stdin=log)


def test_a_failed_start_is_reported_and_closed(make_node: MakeNode) -> None:
    node = make_node()
    node.sh(f"mkdir -p {TASKS}")
    task(node, 1_733_000_000, NO_BRIDGE)
    node.install()
    node.wait_active()
    node.write(100, "name: web\nmemory: 512\nscsi0: local:100/vm-100-disk-0.qcow2,size=32G\n")

    def reported(event: str) -> list[dict[str, Any]]:
        return node.entries(f"PVEHOOKS_EVENT={event}", "PVEHOOKS_VMID=100")

    task(node, 1_733_000_100, NO_BRIDGE)
    wait_until(lambda: reported("start-failed"), "the failed start is reported", node.state)
    (entry,) = reported("start-failed")
    assert entry["PRIORITY"] == "3"
    assert entry["PVEHOOKS_CAUSE"] == "bridge-not-there"
    assert "pvehooks why 100" in str(entry["MESSAGE"])
    why = node.run("pvehooks", "why", "100", check=False)
    assert why.status == 1
    assert "[bridge-not-there]" in why.out
    assert "its last start failed" in node.run("pvehooks", "check", "100", check=False).out

    task(node, 1_733_000_200, "TASK OK\n")
    wait_until(lambda: reported("start-works-again"), "the start that works is reported", node.state)
    assert len(reported("start-failed")) == 1
