"""A firmware image on an installed package: given to a guest, looked at before its start, taken back, and left by the package's removal."""

from __future__ import annotations

from tests.node.conftest import MakeNode
from tests.node.firmware import CODE, GUEST, have_qemu, inside
from tests.node.machine import Machine, wait_until
from tests.node.test_hookscripts import PLAIN, hook, hookscript, wait_attached

IMAGE, VOLID = "/var/lib/vz/efi-firmware/own.fd", "local:efi-firmware/own.fd"


def test_given_looked_at_taken_back_and_left(make_node: MakeNode) -> None:
    node = make_node()
    have_qemu(node)
    node.sh("mkdir -p /var/lib/vz/snippets")
    node.install()
    node.wait_active()
    node.write(100, GUEST)
    from_import_to_remove(node)
    daemon_attaches_the_guard(node)
    package_goes_and_the_image_stays(node)


def from_import_to_remove(node: Machine) -> None:
    assert "imported" in node.sh(f"pvehooks firmware import {CODE} --storage local --name own.fd")
    assert f"starts with {VOLID} from now on" in node.sh(f"pvehooks firmware set 100 {VOLID}")
    assert hookscript(node, 100) == f"local:snippets/{PLAIN}"
    assert hook(node, PLAIN, 100, "pre-start") == (0, "")
    inside(node, IMAGE).write_bytes(inside(node, CODE).read_bytes()[:-1] + b"\x91")
    status, output = hook(node, PLAIN, 100, "pre-start")
    assert status == 1 and "[firmware-changed]" in output and "firmware unset 100" in output
    inside(node, IMAGE).write_bytes(inside(node, CODE).read_bytes())
    assert hook(node, PLAIN, 100, "pre-start") == (0, "")
    assert "is used by VM 100 (app)" in node.sh(f"pvehooks firmware remove {VOLID}", check=False)
    node.sh("pvehooks firmware unset 100")
    assert node.read(100) == GUEST
    assert hook(node, PLAIN, 100, "pre-start") == (0, "")
    node.sh(f"pvehooks firmware remove {VOLID}")
    assert node.sh("ls /var/lib/vz/efi-firmware") == ""


def daemon_attaches_the_guard(node: Machine) -> None:
    """The image was set while the settings did not want the guard."""
    node.sh(f"pvehooks firmware import {CODE} --storage local --name own.fd")
    node.sh("printf '[guard]\\nattach = off\\n' >/etc/pvehooks/pvehooks.conf")
    assert "The image is not checked before a start: [guard] attach = off" in node.sh(f"pvehooks firmware set 100 {VOLID}")
    assert hookscript(node, 100) == ""
    node.sh("printf '' >/etc/pvehooks/pvehooks.conf; systemctl reload pvehooks")
    wait_attached(node, 100, PLAIN)
    wait_until(lambda: '"attachment"' in node.sh("cat /etc/pve/pvehooks/guests/100.json"), "the record tells so", node.state)
    assert hook(node, PLAIN, 100, "pre-start") == (0, "")


def package_goes_and_the_image_stays(node: Machine) -> None:
    args = next(line for line in node.read(100).splitlines() if line.startswith("args: "))
    assert IMAGE in args
    node.apt("remove", "pvehooks")
    status, output = hook(node, PLAIN, 100, "pre-start")
    assert status == 0 and "VM 100 starts without its guard" in output
    output = node.apt("purge", "pvehooks")
    assert f"pvehooks: left: {IMAGE.rpartition('/')[0]}, firmware images; VMs that were given one start with it as before" in output
    assert hookscript(node, 100) == "" and args in node.read(100)
    assert inside(node, IMAGE).read_bytes() == inside(node, CODE).read_bytes()
    assert node.run("test", "-e", "/etc/pve/pvehooks", check=False).status == 1
    node.install()
    node.wait_active()
    assert "firmware-not-pinned" in node.sh("pvehooks check 100", check=False)
    assert f"starts with {VOLID}" in node.sh(f"pvehooks firmware set 100 {VOLID}")
    assert args in node.read(100) and hookscript(node, 100) == f"local:snippets/{PLAIN}"
