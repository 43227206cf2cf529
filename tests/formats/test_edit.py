"""The file writer's edits: one line goes in, every other byte stays, and the line goes out again."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pvehooks.formats.guestconfig import EditableSection, EditError, insert_line, parse, remove_line

RNG = "source=/dev/urandom"


@pytest.mark.parametrize(
    "raw, edited",
    [
        pytest.param(b"", b"rng0: source=/dev/urandom\n", id="empty"),
        pytest.param(b"name: a\nscsi0: none\n", b"name: a\nrng0: source=/dev/urandom\nscsi0: none\n", id="in its place"),
        pytest.param(b"name: a\n", b"name: a\nrng0: source=/dev/urandom\n", id="at the end"),
        pytest.param(b"name: a", b"name: a\nrng0: source=/dev/urandom", id="no line end"),
        pytest.param(b"vga: std", b"rng0: source=/dev/urandom\nvga: std", id="before a line without end"),
        pytest.param(b"name: a\r\nvga: std\r\n", b"name: a\r\nrng0: source=/dev/urandom\r\nvga: std\r\n", id="CRLF"),
        pytest.param(b"name: a\r\n\r\n[ab]\r\n", b"name: a\r\nrng0: source=/dev/urandom\r\n\r\n[ab]\r\n", id="CRLF before a section"),
        pytest.param(b"name: a\n\n\n[ab]\n", b"name: a\nrng0: source=/dev/urandom\n\n\n[ab]\n", id="before a section"),
        pytest.param(b"[ab]\nname: a\n", b"rng0: source=/dev/urandom\n[ab]\nname: a\n", id="nothing before the section"),
        pytest.param(b"\n\nname: a\n", b"\n\nname: a\nrng0: source=/dev/urandom\n", id="blank lines first"),
        pytest.param(b"#a\n#b\n", b"#a\n#b\nrng0: source=/dev/urandom\n", id="comments only"),
        pytest.param(b"name: a\n#end\n", b"name: a\nrng0: source=/dev/urandom\n#end\n", id="comment at the end"),
        pytest.param(b"vga: std\nname: a\n", b"rng0: source=/dev/urandom\nvga: std\nname: a\n", id="not sorted"),
        pytest.param(b"name: a\n[a b]\nname: b\n", b"name: a\nrng0: source=/dev/urandom\n[a b]\nname: b\n", id="an unknown section"),
        pytest.param(b"name: \xff\n", b"name: \xff\nrng0: source=/dev/urandom\n", id="not UTF-8"),
        pytest.param(b"name: a\nrng0: bad\n", b"name: a\nrng0: bad\nrng0: source=/dev/urandom\n", id="beside a bad line"),
    ],
)
def test_live_part(raw: bytes, edited: bytes) -> None:
    assert insert_line(raw, "rng0", RNG) == edited
    assert remove_line(edited, "rng0") == raw


@pytest.mark.parametrize(
    "raw, edited",
    [
        pytest.param(b"name: a\n", b"name: a\n\n[PENDING]\nrng0: source=/dev/urandom\n", id="new"),
        pytest.param(b"name: a", b"name: a\n\n[PENDING]\nrng0: source=/dev/urandom", id="new, no line end"),
        pytest.param(b"", b"\n[PENDING]\nrng0: source=/dev/urandom\n", id="new in an empty file"),
        pytest.param(b"name: a\n\n[ab]\n", b"name: a\n\n[PENDING]\nrng0: source=/dev/urandom\n\n[ab]\n", id="new before a snapshot"),
        pytest.param(b"a: b\r\n", b"a: b\r\n\r\n[PENDING]\r\nrng0: source=/dev/urandom\r\n", id="new, CRLF"),
        pytest.param(
            b"\n[PENDING]\ndelete: name\nvga: std\n", b"\n[PENDING]\ndelete: name\nrng0: source=/dev/urandom\nvga: std\n", id="there"
        ),
        pytest.param(b"[PENDING]\n#c\n\n[ab]\n", b"[PENDING]\n#c\nrng0: source=/dev/urandom\n\n[ab]\n", id="there, a comment in it"),
        pytest.param(
            b"[PENDING]\nname: a\n[PENDING]\nname: b\n",
            b"[PENDING]\nname: a\n[PENDING]\nname: b\nrng0: source=/dev/urandom\n",
            id="there twice",
        ),
    ],
)
def test_pending(raw: bytes, edited: bytes) -> None:
    assert insert_line(raw, "rng0", RNG, "PENDING") == edited
    assert remove_line(edited, "rng0", "PENDING") == raw


def test_an_empty_pending_section_goes_with_the_line() -> None:
    edited = insert_line(b"name: a\n\n[PENDING]\n", "rng0", RNG, "PENDING")
    assert edited == b"name: a\n\n[PENDING]\nrng0: source=/dev/urandom\n"
    assert remove_line(edited, "rng0", "PENDING") == b"name: a\n"


@pytest.mark.parametrize(
    "raw, option, value",
    [
        pytest.param(b"rng0: /dev/random\n", "rng0", RNG, id="set already"),
        pytest.param(b"cdrom: none\n", "ide2", "none", id="set by another name"),
        pytest.param(b"", "rng0", "/dev/zero", id="a bad value"),
        pytest.param(b"", "rng0", "", id="no value"),
        pytest.param(b"", "rng0", "/dev/urandom\nname: a", id="two lines"),
        pytest.param(b"", "foo", "1", id="an unknown option"),
        pytest.param(b"", "delete", "name", id="delete in the live part"),
        pytest.param(b"", "cdrom", "none", id="an option that is renamed"),
        pytest.param(b"name: a\n", "args", "snapstate: delete", id="an accident of PVE's reader"),
    ],
)
def test_what_is_not_inserted(raw: bytes, option: str, value: str) -> None:
    with pytest.raises(EditError, match=option):
        insert_line(raw, option, value)


@pytest.mark.parametrize(
    "raw, option, section",
    [
        (b"name: a\n", "rng0", ""),
        (b"name: a\n", "name", "PENDING"),
        (b"[PENDING]\nname: a\n", "name", ""),
        (b"rng0: bad\n", "rng0", ""),
        (b"#a\n#b\n", "description", ""),
    ],
)
def test_what_is_not_removed(raw: bytes, option: str, section: EditableSection) -> None:
    with pytest.raises(EditError, match=option):
        remove_line(raw, option, section)


def test_the_line_that_counts_is_removed() -> None:
    assert remove_line(b"rng0: bad\nrng0: /dev/random\nrng0: bad\n", "rng0") == b"rng0: bad\nrng0: bad\n"


LINES = st.sampled_from(
    [
        b"",
        b" ",
        b"\r",
        b"#note",
        b"# 50%25 \xff",
        b"name: vm",
        b"name: other\r",
        b"cores: 2",
        b"vga: std",
        b"rng0: bad",
        b"foo: bar",
        b"scsi0: local:100/disk.raw",
        b"unused0: local:100/disk.raw",
        b"args: -x",
        b"delete: cores",
        b"snapstate: prepare",
        b"junk \x00",
        b"[PENDING]",
        b"[pending]\r",
        b"[snap]",
        b"[special:cloudinit]",
        b"[un known]",
    ]
)
CONFIGS = st.tuples(st.lists(LINES, max_size=14).map(b"\n".join), st.sampled_from([b"", b"\n", b"\n\n"])).map(b"".join)


def has_empty_pending(raw: bytes) -> bool:
    """The one thing that remove_line does not bring back."""
    lines = [line.strip() for line in raw.lower().splitlines() if line.strip()]
    return any(line == b"[pending]" and following.startswith(b"[") for line, following in zip(lines, [*lines[1:], b"["], strict=False))


@settings(database=None)
@given(CONFIGS | st.binary(max_size=200), st.sampled_from(["", "PENDING"]))
def test_in_and_out(raw: bytes, section: EditableSection) -> None:
    before = parse(raw)
    edited = insert_line(raw, "rng0", RNG, section)
    after = parse(edited)
    expected = before._replace(digest=after.digest, dropped=after.dropped)
    if section:
        assert after == expected._replace(pending={**before.pending, "rng0": RNG})
    else:
        assert after == expected._replace(main={**before.main, "rng0": RNG})
    assert [(dropped.section, dropped.text) for dropped in after.dropped] == [(d.section, d.text) for d in before.dropped]
    added = edited.splitlines(keepends=True)
    for line in raw.splitlines(keepends=True)[:-1]:
        assert line in added
        added.remove(line)
    if not (section and has_empty_pending(raw)):
        assert remove_line(edited, "rng0", section) == raw


@settings(database=None)
@given(st.sampled_from(["cores", "name", "onboot", "vga", "net0"]), CONFIGS)
def test_any_option(option: str, raw: bytes) -> None:
    value = {"cores": "2", "name": "a", "onboot": "yes", "vga": "std", "net0": "virtio"}[option]
    if option in parse(raw).main:
        with pytest.raises(EditError):
            insert_line(raw, option, value)
    else:
        assert remove_line(insert_line(raw, option, value), option) == raw
