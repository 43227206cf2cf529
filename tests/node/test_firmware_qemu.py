"""What QEMU really starts with, given Proxmox VE's options and the args that `pvehooks firmware set` wrote: the firmware itself tells."""

from __future__ import annotations

from tests.node.firmware import (
    CODE,
    EFI_DISK,
    GUEST,
    NODES_CODE,
    NODES_WHOLE,
    VARIABLES,
    WHOLE,
    args_of,
    booted,
    by_bios,
    by_drives,
    by_pflash,
    have_qemu,
    inside,
    put_marked,
    started,
)
from tests.node.machine import Machine

# Debian 12's QEMU has no machine of version 10.
SUITES = ("trixie",)
SHELL = 'starting Boot0001 "EFI Internal Shell"'


def import_and_set(node: Machine, vmid: int, file: str, config: str) -> list[str]:
    """The guest's args once it has the image."""
    name = file.rpartition("/")[2]
    node.write(vmid, config.replace("64a0100", f"64a0{vmid}"))
    node.sh(f"pvehooks firmware import {file} --storage local --name {name}")
    node.sh(f"pvehooks firmware set {vmid} local:efi-firmware/{name}")
    return args_of(node, vmid)


def test_the_image_is_what_runs(node: Machine) -> None:
    """The node's own images say that they are the node's."""
    have_qemu(node)
    node.sh("mkdir -p /var/lib/vz/snippets")
    put_marked(node, CODE, NODES_CODE, "the node's code")
    put_marked(node, WHOLE, NODES_WHOLE, "the node's whole image")
    put_marked(node, CODE, "/root/own-code.fd", "the guest's code")
    put_marked(node, WHOLE, "/root/own-whole.fd", "the guest's whole image")
    inside(node, EFI_DISK).write_bytes(inside(node, VARIABLES).read_bytes())
    code = import_and_set(node, 100, "/root/own-code.fd", GUEST)
    whole = import_and_set(node, 101, "/root/own-whole.fd", f"amd-sev: type=snp\n{GUEST}")
    assert (code[:2], whole[:2]) == (["-name", 'a "b'], ["-name", 'a "b']), "their own words come first"
    assert started(node, by_pflash(), [])[1] == "the node's code"
    assert started(node, by_pflash(), code)[1] == "the guest's code"
    assert started(node, by_pflash("pc-i440fx-10.0"), code)[1] == "the guest's code"
    assert started(node, by_bios(), [])[1] == "the node's whole image"
    assert started(node, by_bios(), whole)[1] == "the guest's whole image"
    what_is_refused_does_not_work(node, code, whole)
    a_genuine_image_boots_with_the_variables_of_the_efi_disk(node)


def what_is_refused_does_not_work(node: Machine, code: list[str], whole: list[str]) -> None:
    """A machine of a version before 10.0, and a code-only image where QEMU wants a whole one."""
    done, output = started(node, by_drives(), code)
    assert (done.status, output) == (1, "") and "clashes with -machine" in done.err
    done, output = started(node, by_bios(), [word.replace("own-whole", "own-code") for word in whole])
    assert (done.status, output) == (1, "") and "could not load PC BIOS" in done.err
    assert started(node, by_pflash(), whole)[1] == "the node's code", "an image for SEV-SNP is passed over, without a word"


def a_genuine_image_boots_with_the_variables_of_the_efi_disk(node: Machine) -> None:
    args = import_and_set(node, 102, CODE, GUEST)
    name = "EFI Internal Shell".encode("utf-16-le")
    booted(node, by_pflash(), args, SHELL)
    assert name in inside(node, EFI_DISK).read_bytes(), "its boot entries are noted there"
    # A whole image starts there too, but has its variables in itself, where nothing can be written.
    inside(node, "/var/lib/vz/efi-firmware/whole.fd").write_bytes(inside(node, WHOLE).read_bytes())
    booted(node, by_pflash(), [word.replace("OVMF_CODE_4M.fd", "whole.fd") for word in args], SHELL)
    assert name not in inside(node, EFI_DISK).read_bytes()
