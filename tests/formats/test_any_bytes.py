"""Whatever a file holds: a value comes out, no exception."""

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pvehooks.formats import bootorder, sectionconfig
from pvehooks.formats.guestconfig import parse
from pvehooks.formats.propertystring import PropertyError
from pvehooks.formats.propertystring import parse as parse_property_string
from pvehooks.formats.schema import OPTIONS
from pvehooks.values.guests import GuestConfig

MEGABYTE = 1 << 20
SIGNS = ["0", "1", ",", ";", "=", ":", " ", "\r", "\0", "é", "\udcff", "%FF", '"']
WORDS = ["on", "x", "local:a", "virtio", "host", "order", "/dev/urandom", *SIGNS]
texts = st.lists(st.sampled_from([*WORDS, *list(OPTIONS)[:60]]), max_size=12).map("".join)
lines = st.builds(lambda option, text: f"{option}: {text}", st.sampled_from(list(OPTIONS)), texts) | texts
headers = st.sampled_from(["[PENDING]", "[snap]", "[special:cloudinit]", "[special:fleecing]", "[?]", "[", "#", "# x"])
configs = st.lists(lines | headers, max_size=20).map("\n".join).map(lambda text: text.encode(errors="surrogateescape"))


def every_text(config: GuestConfig) -> str:
    sections = [config.main, config.pending, *config.snapshots.values(), *config.special_sections.values()]
    dropped = [text for line in config.dropped for text in (line.section, line.text, line.reason)]
    return "".join([*dropped, *(str(item) for section in sections for pair in section.items() for item in pair)])


@settings(database=None)
@given(st.binary(max_size=400) | configs)
def test_configs(raw: bytes) -> None:
    config = parse(raw)
    every_text(config).encode(errors="surrogateescape")
    bootorder.devices(config.main)
    bootorder.devices(config.effective())
    numbers = [dropped.line for dropped in config.dropped]
    assert numbers == sorted(set(numbers))
    source = raw.decode(errors="surrogateescape").split("\n")
    assert all(dropped.text == source[dropped.line - 1] for dropped in config.dropped)


@settings(database=None)
@given(st.sampled_from(list(OPTIONS)), texts)
def test_property_strings(option: str, text: str) -> None:
    try:
        parts = parse_property_string(option, text)
    except PropertyError as error:
        assert str(error)
    else:
        assert all(isinstance(value, str) or value in (0, 1) for value in parts.values())


@settings(database=None)
@given(st.binary(max_size=400) | configs)
def test_section_configs(raw: bytes) -> None:
    for config in (sectionconfig.parse_mapping(raw), sectionconfig.parse_cpu_models(raw), sectionconfig.parse_storages(raw)):
        assert all(problem.reason for problem in config.problems)


@settings(database=None)
@given(configs)
def test_reading_again_gives_the_same(raw: bytes) -> None:
    assert parse(raw) == parse(raw)


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(random.Random(1).randbytes(MEGABYTE), id="random bytes"),
        pytest.param(b"\xff" * MEGABYTE, id="one line of no UTF-8"),
        pytest.param(b"\0" * MEGABYTE, id="NUL"),
        pytest.param(b"a\n" * (MEGABYTE // 2), id="junk lines"),
        pytest.param(b"#\n" * (MEGABYTE // 2), id="comments"),
        pytest.param(b"[ab]\n" * (MEGABYTE // 5), id="sections"),
        pytest.param(b"name: " + b"a-" * (MEGABYTE // 2), id="a long name"),
        pytest.param(b"net0: " + b"," * MEGABYTE, id="a long property string"),
        pytest.param(b"net0: virtio," + b"tag=5," * (MEGABYTE // 6), id="a property string that repeats itself"),
        pytest.param(b"nameserver: " + b":" * MEGABYTE, id="no IPv6 address"),
        pytest.param(b"cores: " + b"9" * MEGABYTE, id="a large number"),
        pytest.param(b"affinity: 0-99999999999999999999", id="a range of CPUs that nobody should count"),
        pytest.param(b"snapstate: " * (MEGABYTE // 11), id="snapshot states"),
        pytest.param(b"boot: order=" + b"net0;" * (MEGABYTE // 5), id="a long boot order"),
        pytest.param(b"memory:" + b" " * MEGABYTE, id="white space"),
    ],
)
def test_a_megabyte(raw: bytes) -> None:
    start = time.process_time()
    config = parse(raw)
    bootorder.devices(config.main)
    sectionconfig.parse_mapping(raw)
    assert time.process_time() - start < 20, "something takes more than linear time"
