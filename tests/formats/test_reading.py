"""What is read from a config: sections, values, the description, pending deletes, the effective options."""

import hashlib

import pytest

from pvehooks.formats.guestconfig import parse
from pvehooks.values.guests import GuestConfig

TYPICAL = b"""\
#Web server
#100%25 of %C3%BC%3A
bios: ovmf
boot: order=scsi0;net0
cores: 2
memory: 2048
name: web-1
net0: virtio=BC:24:11:00:00:01,bridge=vmbr0,firewall=1
numa: 0
onboot: yes
scsi0: local-lvm:vm-100-disk-0,size=32G

[PENDING]
bios: seabios
delete: onboot,!net0
tablet: off

[before-upgrade]
#old
cores: 1
snaptime: 1700000000
parent: first

[special:cloudinit]
name: anything: at all
"""


def test_a_typical_config() -> None:
    assert parse(TYPICAL) == GuestConfig(
        main={
            "bios": "ovmf",
            "boot": "order=scsi0;net0",
            "cores": 2,
            "description": "Web server\n100% of ü:",
            "memory": "2048",
            "name": "web-1",
            "net0": "virtio=BC:24:11:00:00:01,bridge=vmbr0,firewall=1",
            "numa": 0,
            "onboot": 1,
            "scsi0": "local-lvm:vm-100-disk-0,size=32G",
        },
        pending={"bios": "seabios", "tablet": 0},
        pending_delete={"net0": True, "onboot": False},
        snapshots={"before-upgrade": {"cores": 1, "description": "old", "parent": "first", "snaptime": 1700000000}},
        special_sections={"cloudinit": {"name": "anything: at all"}},
        dropped=parse(TYPICAL).dropped,
        digest=hashlib.sha1(TYPICAL).hexdigest(),
    )
    assert [dropped.line for dropped in parse(TYPICAL).dropped] == [25]


def test_effective_options() -> None:
    effective = parse(TYPICAL).effective()
    assert effective["bios"] == "seabios"
    assert effective["tablet"] == 0
    assert "onboot" not in effective and "net0" not in effective
    assert effective["cores"] == 2


def test_an_option_deleted_and_set_is_set() -> None:
    assert parse(b"[PENDING]\ndelete: name\nname: new\n").effective() == {"name": "new"}


def test_unused_disks_stay_and_the_snapshot_state_is_no_option() -> None:
    config = parse(b"unused0: local:100/x.raw\n[PENDING]\ndelete: unused0\nsnapstate: delete\n")
    assert config.effective() == {"unused0": "local:100/x.raw"}


def test_nothing_pending_changes_nothing() -> None:
    config = parse(b"name: a\n[snap]\nname: b\n")
    assert config.effective() is config.main


@pytest.mark.parametrize(
    "raw, main",
    [
        pytest.param(b"", {}, id="empty file"),
        pytest.param(b"\n \n\t\n", {}, id="blank lines"),
        pytest.param(b"memory: 512", {"memory": "512"}, id="no line end"),
        pytest.param(b"cores: 2\r\nmemory: 512\r\n", {"cores": 2, "memory": "512"}, id="CRLF"),
        pytest.param(b"name:  a  \t", {"name": "a"}, id="white space around the value"),
        pytest.param(b"name:a", {"name": "a"}, id="no white space"),
        pytest.param(b"boot: ", {"boot": " "}, id="a blank is a value"),
        pytest.param(b"boot:\t", {"boot": "\t"}, id="so is a tab"),
        pytest.param(b"boot:   ", {"boot": " "}, id="of several the last"),
        pytest.param(b"cores: 007", {"cores": 7}, id="leading zeros"),
        pytest.param(b"numa: TRUE\nacpi: No\nkvm: oN\ntdf: 0", {"numa": 1, "acpi": 0, "kvm": 1, "tdf": 0}, id="booleans"),
        pytest.param(b"cpulimit: 1.50", {"cpulimit": "1.50"}, id="numbers stay text"),
        pytest.param(b"balloon: 18446744073709551615", {"balloon": 2**64 - 1}, id="the largest integer"),
        pytest.param(b"balloon: 18446744073709551616", {"balloon": 2**64}, id="larger ones are rounded"),
        pytest.param(b'bios: "ovmf"', {"bios": "ovmf"}, id="quotes are taken off"),
        pytest.param(b'bios: ""ovmf""', {"bios": '"ovmf"'}, id="one pair of them"),
        pytest.param(b'bios: "', {"bios": '"'}, id="one quote is none"),
        pytest.param(b'args: "-x"', {"args": '"-x"'}, id="not off args"),
        pytest.param(b"bios: nonsense", {"bios": "nonsense"}, id="enumerations are not checked"),
        pytest.param(b"cores: 0\ncpuunits: 9999999", {"cores": 0, "cpuunits": 9999999}, id="nor are limits"),
        pytest.param(b"vmgenid: x", {"vmgenid": "x"}, id="nor patterns"),
        pytest.param(b"cdrom: none,media=cdrom", {"ide2": "none,media=cdrom"}, id="cdrom is ide2"),
        pytest.param(b"cdrom: none\nide2: cdrom", {"ide2": "cdrom"}, id="the later of the two counts"),
        pytest.param(b"name: a\nname: b", {"name": "b"}, id="the last of several lines"),
        pytest.param(b"cores: 2\ncores: x", {"cores": 2}, id="the last good one"),
        pytest.param(b"ciuser: \xff\xfe", {"ciuser": "\udcff\udcfe"}, id="not UTF-8"),
        pytest.param(b"ciuser: \xc3\xbc", {"ciuser": "ü"}, id="UTF-8"),
        pytest.param(b"ciuser: a\x00b", {"ciuser": "a\0b"}, id="NUL"),
        pytest.param(b"ciuser: a\x1c", {"ciuser": "a\x1c"}, id="what only Python calls white space"),
        pytest.param(b"hookscript: local:snippets/x y.sh", {"hookscript": "local:snippets/x y.sh"}, id="volume id"),
        pytest.param(b"args: -device x,id='a: b'", {"args": "-device x,id='a: b'"}, id="colons in values"),
        pytest.param(b"snapstate: delete", {}, id="no snapshot state in the live part"),
        pytest.param(b"name: a snapstate: prepare", {}, id="not even at the end of a line"),
        pytest.param(b"delete: name\nname: a", {"name": "a"}, id="delete outside [PENDING]"),
    ],
)
def test_values(raw: bytes, main: dict[str, str | int]) -> None:
    assert parse(raw).main == main


@pytest.mark.parametrize(
    "raw, description",
    [
        (b"#", ""),
        (b"# a \n#b \n", " a \nb"),
        (b"#\n#a", "\na"),
        (b"#a\r\n#b\r\n", "a\r\nb"),
        (b"#a%0Ab", "a\nb"),
        (b"#a%2", "a%2"),
        (b"#a\xc2\xa0", "a"),
        (b"#a%E2%80%83", "a"),
        (b"#a\x1c", "a\x1c"),
        (b"description: a%20b ", "a b"),
        (b"description: a\n#b\ndescription: c", "ab\nc"),
        (b"description: ", " "),
        (b"#%C3", "\ufffd"),
        (b"#\xff\xfe", "\ufffd\ufffd"),
        (b"#%C0%80", "\ufffd"),
        (b"#%E2%82", "\ufffd"),
        (b"#%E2%82%C3%A9", "\ufffdé"),
        (b"#%80%80", "\ufffd\ufffd"),
        (b"#%F0%9F%98x", "\ufffdx"),
        (b"#%FE%80x", "\ufffdx"),
        (b"#%ED%A0%80", "\ufffd"),
        (b"#%F4%90%80%80", "\ufffd"),
    ],
)
def test_descriptions(raw: bytes, description: str) -> None:
    assert parse(raw).main == {"description": description}


def test_a_description_is_its_sections() -> None:
    config = parse(b"#main\n[PENDING]\n#\n[snap]\n#snap\nname: a\n[un known]\n#lost\n[special:fleecing]\n#special")
    assert config.main == {"description": "main"}
    assert config.pending == {"description": ""}
    assert config.snapshots == {"snap": {"description": "snap", "name": "a"}}
    assert config.special_sections == {"fleecing": {"description": "special"}}


@pytest.mark.parametrize("header", [b"[PENDING]", b"[pending]", b"[Pending] \t", b"[PENDING]\r"])
def test_pending(header: bytes) -> None:
    assert parse(b"name: a\n" + header + b"\nname: b\n").pending == {"name": "b"}


@pytest.mark.parametrize(
    "text, deletes",
    [
        (b"rng0", {"rng0": False}),
        (b"a,!b", {"a": False, "b": True}),
        (b" a;b ,, c !d", {"a": False, "b": False, "c": False, "d": True}),
        (b"a,!a", {"a": True}),
        (b"!", {"": True}),
        (b",", {}),
        (b"0", {}),
    ],
)
def test_pending_deletes(text: bytes, deletes: dict[str, bool]) -> None:
    config = parse(b"[PENDING]\ndelete: " + text + b"\n")
    assert config.pending_delete == deletes
    assert config.pending == {}


@pytest.mark.parametrize("name", [b"ab", b"Snap-1_x", b"a9", b"fleecing", b"a" * 50])
def test_snapshots(name: bytes) -> None:
    assert parse(b"[" + name + b"]\nname: a\nsnapstate: prepare\n").snapshots == {name.decode(): {"name": "a", "snapstate": "prepare"}}


@pytest.mark.parametrize(
    "header, reason",
    [
        (b"[a]", "unknown section [a]"),
        (b"[9a]", "unknown section [9a]"),
        (b"[a b]", "unknown section [a b]"),
        (b"[]", "unknown section []"),
        (b"[sn\xc3\xa4p]", "unknown section [snäp]"),
        (b"[special:other]", "unknown section [special:other]"),
        (b"[special:CloudInit]", "unknown section [special:CloudInit]"),
    ],
)
def test_unknown_sections(header: bytes, reason: str) -> None:
    config = parse(b"name: a\n" + header + b"\nname: b\n\n#c\n")
    assert config.main == {"name": "a"}
    assert [(dropped.line, dropped.reason) for dropped in config.dropped] == [(2, reason), (3, reason), (5, reason)]


@pytest.mark.parametrize("line", [b" [snap]", b"[snap]x", b"[snap"])
def test_no_section_header(line: bytes) -> None:
    config = parse(line + b"\nname: a\n")
    assert config.main == {"name": "a"}
    assert config.dropped[0].reason == "not a config line"


@pytest.mark.parametrize("header", [b"[special:cloudinit]", b"[SPECIAL:cloudinit]"])
def test_the_cloudinit_section_takes_anything(header: bytes) -> None:
    config = parse(header + b"\nname: no name: at all\nfoo: bar\ncores: 2\nargs: -x\ndelete: a\ndescription: d\n")
    assert config.special_sections == {
        "cloudinit": {"name": "no name: at all", "foo": "bar", "cores": "2", "args": "-x", "description": "d"}
    }


def test_the_fleecing_section_takes_its_option_only() -> None:
    config = parse(b"[special:fleecing]\nfleecing-images: local:a,local:b\nname: a\n")
    assert config.special_sections == {"fleecing": {"fleecing-images": "local:a,local:b"}}
    assert [dropped.reason for dropped in config.dropped] == ["unknown option 'name'"]


def test_of_a_section_that_comes_twice_the_last_counts() -> None:
    config = parse(b"[PENDING]\nname: a\n[snap]\nname: b\n[special:fleecing]\n[PENDING]\n[snap]\ncores: 1\n")
    assert config.pending == {}
    assert config.snapshots == {"snap": {"cores": 1}}


def test_cpu_models() -> None:
    assert parse(b"cpu: x86-64-v2-AES,flags=+aes").main == {"cpu": "x86-64-v2-AES,flags=+aes"}
    assert parse(b"cpu: custom-mine").main == {}
    assert parse(b"cpu: custom-mine", cpu_models=["custom-mine"]).main == {"cpu": "custom-mine"}
    assert parse(b"cpu: Newer-v9", cpu_models=["Newer-v9"]).main == {"cpu": "Newer-v9"}
