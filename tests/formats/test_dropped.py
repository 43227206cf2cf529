"""Lines that PVE would drop when it rewrites a config, or write with another meaning; and lines that only look like that."""

import pytest

from pvehooks.formats.guestconfig import parse
from pvehooks.values.guests import Dropped

UNREADABLE = [
    pytest.param(b"foo: bar", "unknown option 'foo'", id="unknown option"),
    pytest.param(b"net32: virtio", "unknown option 'net32'", id="a NIC too many"),
    pytest.param(b"net01: virtio", "unknown option 'net01'", id="a NIC with a zero"),
    pytest.param(b"Name: a", "not a config line", id="upper case"),
    pytest.param(b" name: a", "not a config line", id="indented"),
    pytest.param(b"name : a", "not a config line", id="white space before the colon"),
    pytest.param(b"name=a", "not a config line", id="no colon"),
    pytest.param(b"name:", "not a config line", id="nothing behind the colon"),
    pytest.param(b"lxc.cap.drop: x", "not a config line", id="an LXC line"),
    pytest.param(b"numa: maybe", "value of 'numa' is not a boolean: 'maybe'", id="boolean"),
    pytest.param(b"cores: two", "value of 'cores' is not an integer: 'two'", id="integer"),
    pytest.param(b"cores: -1", "value of 'cores' is not an integer: '-1'", id="negative"),
    pytest.param(b"cores: \xc2\xb2", "value of 'cores' is not an integer: '²'", id="a digit of Unicode"),
    pytest.param(b"cpulimit: 1e3", "value of 'cpulimit' is not a number: '1e3'", id="number"),
    pytest.param(b"name: a_b", "value of 'name' is not a DNS name: 'a_b'", id="name"),
    pytest.param(
        b"rng0: /dev/zero", "value of 'rng0': source is not one of /dev/urandom, /dev/random, /dev/hwrng: '/dev/zero'", id="enumeration"
    ),
    pytest.param(b"hostpci0: 01:00,rombar=maybe", "value of 'hostpci0': rombar is not a boolean: 'maybe'", id="in a property string"),
    pytest.param(b"scsi0: local:x,cyls=5", "value of 'scsi0': unknown property 'cyls'", id="geometry of old disks"),
    pytest.param(b"cpu: Cray-1", "value of 'cpu': unknown CPU model 'Cray-1'", id="CPU model"),
    pytest.param(b"startup: 0", "value of 'startup' is not a start-up order: '0'", id="a start-up order that is false to Perl"),
    pytest.param(b"nameserver: 0", "value of 'nameserver' is not a list of IP addresses or host names: '0'", id="likewise"),
    pytest.param(b"boot: order=", "value of 'boot': 'order=' has no value", id="an empty boot order"),
    pytest.param(b"ciuser: a\rb", "value of 'ciuser' contains a carriage return", id="carriage return"),
    pytest.param(b"boot: \r", "value of 'boot' contains a carriage return", id="a blank in a file with CRLF"),
    pytest.param(b"delete: name", "'delete' is only allowed in [PENDING]", id="delete"),
    pytest.param(b"snapstate: other", "unknown option 'snapstate'", id="an unknown snapshot state"),
]


@pytest.mark.parametrize("line, reason", UNREADABLE)
@pytest.mark.parametrize("section", ["", "snap"])
def test_what_pve_cannot_read(line: bytes, reason: str, section: str) -> None:
    before = f"[{section}]\n".encode() if section else b"#\n"
    assert parse(before + line + b"\n").dropped == (Dropped(2, section, line.decode(), reason),)


DUPLICATE = "duplicate section [{}]: only the last one counts"
REWRITTEN = [
    pytest.param(b"name: a\nname: b", {1: "'name' comes again in line 2, which counts"}, id="two values"),
    pytest.param(b"cdrom: none\nide2: cdrom", {1: "'ide2' comes again in line 2, which counts"}, id="two names"),
    pytest.param(b"args: -a\nargs: -b", {1: "'args' comes again in line 2, which counts"}, id="args twice"),
    pytest.param(b'args: "-a"\nargs: -a', {1: "'args' comes again in line 2, which counts"}, id="args twice, quoted"),
    pytest.param(b"balloon: 18446744073709551616\nballoon: 5", {1: "'balloon' comes again in line 2, which counts"}, id="too large"),
    pytest.param(b"name: a snapstate: prepare", {1: "PVE takes this for a 'snapstate' line"}, id="snapshot state at the end"),
    pytest.param(b"snapstate: delete", {1: "PVE removes 'snapstate' outside snapshots"}, id="snapshot state"),
    pytest.param(b"[PENDING]\nname: a\n[pending]", {1: DUPLICATE.format("PENDING"), 2: DUPLICATE.format("PENDING")}, id="PENDING"),
    pytest.param(b"[ab]\nfoo: a\n\n[ab]", {1: DUPLICATE.format("ab"), 2: DUPLICATE.format("ab")}, id="snapshot"),
    pytest.param(b"[special:fleecing]\n[special:fleecing]", {1: DUPLICATE.format("special:fleecing")}, id="special"),
    pytest.param(b"#0", {1: "PVE does not write a description that is just '0'"}, id="description 0"),
    pytest.param(b"#%FF", {1: "bytes that are not UTF-8 in the description: PVE replaces them"}, id="escaped, not UTF-8"),
    pytest.param(b"#\xff", {1: "bytes that are not UTF-8 in the description: PVE replaces them"}, id="not UTF-8"),
    pytest.param(b'bios: ""ovmf""', {1: "value of 'bios' changes when PVE writes and reads it again"}, id="quotes in quotes"),
    pytest.param(b'bios: ""', {1: "value of 'bios' changes when PVE writes and reads it again"}, id="nothing in quotes"),
    pytest.param(b'bios: " ovmf"', {1: "value of 'bios' changes when PVE writes and reads it again"}, id="white space in quotes"),
    pytest.param(b'args: "-x"', {1: "value of 'args' changes when PVE writes and reads it again"}, id="args in quotes"),
    pytest.param(b"args: a\rb", {1: "PVE cannot write 'args' with a carriage return in it"}, id="args with a carriage return"),
    pytest.param(
        b"cores: 18446744073709551616",
        {1: "value of 'cores' is too large: PVE cannot read again what it writes for it"},
        id="large integer",
    ),
    pytest.param(
        b"cores: " + b"9" * 5000,
        {1: "value of 'cores' is too large: PVE cannot read again what it writes for it"},
        id="an integer too large for floating point",
    ),
    pytest.param(b"smp: 2\nsockets: 1", {1: "PVE removes 'smp' where there is 'sockets'"}, id="smp and sockets"),
    pytest.param(b"smp: 0\nsockets: 1", {1: "PVE removes 'smp' where there is 'sockets'"}, id="no smp and sockets"),
    pytest.param(
        b"cores: 4\nsmp: 2",
        {1: "PVE removes 'cores' where there is 'smp' and no 'sockets'", 2: "PVE rewrites 'smp' as 'sockets'"},
        id="smp",
    ),
    pytest.param(
        b"scsi0: local:100/a.raw,size=1G\nunused0: local:100/a.raw",
        {2: "PVE removes 'unused0': its volume is in use as 'scsi0'"},
        id="a used unused disk",
    ),
    pytest.param(
        b"unused0: local:100/a.raw\n[PENDING]\nefidisk0: local:100/a.raw",
        {1: "PVE removes 'unused0': its volume is in use as 'efidisk0'"},
        id="a used unused disk, pending",
    ),
    pytest.param(
        b"[special:cloudinit]\nname: a", {2: "PVE removes [special:cloudinit] where there is no cloud-init drive"}, id="no cloud-init"
    ),
    pytest.param(
        b"ide2: local:100/vm-100-cloudinit.qcow2,media=cdrom\n[special:cloudinit]\nname: a\ndigest: b",
        {4: "PVE does not write 'digest'"},
        id="its own words in [special:cloudinit]",
    ),
]


@pytest.mark.parametrize("raw, reasons", REWRITTEN)
def test_what_pve_loses_when_it_writes(raw: bytes, reasons: dict[int, str]) -> None:
    assert {dropped.line: dropped.reason for dropped in parse(raw).dropped} == reasons


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"name: a\ncores: 2\n#late comment\n\n\nacpi: 1", id="order, blank lines, comments anywhere"),
        pytest.param(b"name: a\nname: a", id="the same line twice"),
        pytest.param(b"numa: 1\nnuma: yes", id="the same value twice"),
        pytest.param(b"name: a\r\n\r\n[snap]\r\nname: b\r\n", id="CRLF"),
        pytest.param(b"description: a\n#b: 100%", id="a description to be encoded"),
        pytest.param(b"#\n[PENDING]\n#\n", id="an empty description"),
        pytest.param(b"[PENDING]\n", id="an empty section"),
        pytest.param(b"[special:cloudinit]\n", id="an empty cloud-init section"),
        pytest.param(b"[PENDING]\nsnapstate: delete\ndelete: a,b\n[snap]\nsnapstate: prepare", id="snapshot states in their place"),
        pytest.param(b'bios: "ovmf"\nciuser: "', id="quotes"),
        pytest.param(b"boot: \nciuser: \t", id="a blank"),
        pytest.param(b"smp: 0", id="no smp"),
        pytest.param(b"unused0: local:100/a.raw\n[snap]\nscsi0: local:100/a.raw", id="an unused disk that a snapshot uses"),
        pytest.param(b'[special:fleecing]\nargs: "-x"', id="args that nobody checks"),
        pytest.param(b"cdrom: none,media=cdrom", id="another name"),
        pytest.param(b"cores: 002\nnuma: on", id="other ways to write a value"),
        pytest.param(b"ciuser: \xff", id="not UTF-8 outside of the description"),
    ],
)
def test_what_pve_keeps(raw: bytes) -> None:
    assert parse(raw).dropped == ()


def test_where_lines_are() -> None:
    raw = b"foo: 1\n\n[PENDING]\nfoo: 2\n[snap]\nfoo: 3\n[special:fleecing]\nfoo: 4\n[a b]\nfoo: 5\n"
    found = [(dropped.line, dropped.section, dropped.text) for dropped in parse(raw).dropped]
    assert found == [
        (1, "", "foo: 1"),
        (4, "PENDING", "foo: 2"),
        (6, "snap", "foo: 3"),
        (8, "special:fleecing", "foo: 4"),
        (9, "a b", "[a b]"),
        (10, "a b", "foo: 5"),
    ]


def test_long_values_are_cut_in_reasons() -> None:
    (dropped,) = parse(b"cores: " + b"x" * 1000).dropped
    assert len(dropped.reason) < 120
    assert len(dropped.text) > 1000
