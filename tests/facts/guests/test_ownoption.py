"""Options of a Proxmox VE that is newer than this package: PVE keeps their lines, so nothing is lost with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pvehooks.derived import attachment
from pvehooks.facts.guests import configs as guests
from pvehooks.facts.guests import ownoption
from pvehooks.host import Host
from tests.beds.tree import Content, make_fake_tree

SCHEMA = "usr/share/perl5/PVE/QemuServer.pm"
CONFIG = "etc/pve/nodes/pve1/qemu-server/100.conf"
# As qemu-server declares its options, with nested hashes, standard options, loops and comments.
CODE = """package PVE::QemuServer;
my $other = {
    nothing => { optional => 1 },
};
my $confdesc = {
    onboot => {
        optional => 1,
        verbose_description => 'deep => {',
    },
    'efi-firmware' => {
        type => 'string',
        format => 'pve-volume-id',
    },
    machine => get_standard_option('pve-qemu-machine'),
};
my $confdesc_cloudinit = {
    cinew => { optional => 1 },
};
for (my $i = 0; $i < 4; $i++) {
    $confdesc->{"net$i"} = $netdesc;
    $confdesc->{"gadget$i"} = $gadgetdesc;
}
    $confdesc->{late0} = $latedesc;
sub x {
    return 0 if !$confdesc->{asked};
    die if $confdesc->{compared} == 1;
}
"""


def tree(directory: Path, config: str, code: Content = CODE) -> Host:
    return Host(str(make_fake_tree(directory, {CONFIG: config, SCHEMA: code})))


@pytest.mark.parametrize("option", ["efi-firmware", "cinew", "gadget0", "gadget17", "late0"])
def test_what_pve_declares_is_kept(option: str, tmp_path: Path) -> None:
    """Now, pending and in snapshots; and it stands against no change of the guest."""
    host = tree(tmp_path, f"{option}: a\nmemory: 512\n\n[PENDING]\n{option}: b\n\n[s1]\n{option}: c\n")
    guest = guests.read(host, "pve1", 100, guests.gather_context(host, "pve1", None))
    assert guest.config is not None
    assert (guest.config.dropped, guest.config.main[option], guest.options[option]) == ((), "a", "b")
    assert guest.config.snapshots["s1"][option] == "c"
    assert guests.parse(host, guests.read_raw(host, "pve1", 100)) == guest.config
    assert attachment.why_not(guest)[0].startswith("it is stopped and other changes are pending")


@pytest.mark.parametrize(
    "option", ["nothing", "optional", "deep", "type", "gadget", "late", "late1", "net32", "asked", "compared", "efi-firmware0"]
)
def test_what_pve_does_not_declare_is_lost(option: str, tmp_path: Path) -> None:
    host = tree(tmp_path, f"{option}: a\n")
    (dropped,) = guests.parse(host, guests.read_raw(host, "pve1", 100)).dropped
    assert dropped.reason == f"unknown option '{option}'"


@pytest.mark.parametrize("code", [None, "", b"\xff\xfe", "my $confdesc = {\n    onboot"], ids=["directory", "empty", "bytes", "cut short"])
def test_a_schema_that_cannot_be_read(code: Content, tmp_path: Path) -> None:
    host = tree(tmp_path, "efi-firmware: a\n", code)
    assert len(guests.parse(host, guests.read_raw(host, "pve1", 100)).dropped) == 1


def test_it_is_read_only_for_what_we_do_not_know(tmp_path: Path) -> None:
    class Noting(Host):
        def read(self, path: str, limit: int = 1 << 20) -> bytes:
            read.append(path)
            return super().read(path, limit)

    read: list[str] = []
    host = Noting(str(make_fake_tree(tmp_path, {CONFIG: "memory: 512\ncores: x\n", SCHEMA: CODE})))
    guest_context = guests.gather_context(host, "pve1", None)
    assert len(guests.parse_guest(host, "pve1", 100, b"cores: x\n", guest_context).config.dropped) == 1  # type: ignore[union-attr]  # it is read
    assert f"/{SCHEMA}" not in read
    for _ in range(2):
        guests.parse_guest(host, "pve1", 100, b"efi-firmware: x\n", guest_context)
    assert read.count(f"/{SCHEMA}") == 1


def test_lines_that_pve_could_not_read(tmp_path: Path) -> None:
    host = tree(tmp_path, "efi-firmware: a\rb\n\n[special:fleecing]\nefi-firmware: a\n")
    assert len(guests.parse(host, guests.read_raw(host, "pve1", 100)).dropped) == 2


def test_no_name_in_a_tree(tmp_path: Path) -> None:
    """There is no qm that could be asked."""
    assert ownoption.name(tree(tmp_path, "")) == ""
