"""A summary as text: what is written is read again, within its size, whatever there is to tell; what is no summary is refused in words."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pvehooks.formats import summary as text
from pvehooks.values import Holder, HwRng, Iommu, Unread, Use
from pvehooks.values.summaries import DescribedDevice, DeviceKind, FailedStartSummary, Hardware, NextBootSummary, NodeDetails, Summary

GPU = DeviceKind(0x10DE, 0x2204, (0x1043, 0x87D0), 0x030000, "vfio-pci", True, "", ("flr", "bus"), (), False, "", False)
NIC = GPU._replace(vendor=0x8086, device=0x1533, subsystem=None, class_code=0x020000, driver="igb", vfio=False)
VF = NIC._replace(device=0x1889, driver="iavf", physfn="0000:41:00.0", reset_methods=("flr",))
SMBUS = NIC._replace(device=0xA123, class_code=0x0C0500, driver="i801_smbus")
HARDWARE = Hardware(1_800_000_000, Iommu(True, "", "", None, False), HwRng(False, ""), {}, (), {}, {}, {})
SUMMARY = Summary("1.0", 1_800_000_000, "enforce", "inject", 3, 2, 1, (101,), (102,), 1, {"block": 1}, {}, {"iommu-off": 1}, {}, HARDWARE)

names = st.text(max_size=30)
numbers = st.integers(min_value=0, max_value=1 << 40)
ids = st.integers(min_value=0, max_value=0xFFFF)
addresses = st.builds(
    lambda domain, bus, slot, function: f"{domain}:{bus:02x}:{slot:02x}.{function}",
    st.sampled_from(["0000", "0001", "10000"]),
    st.integers(0, 255),
    st.integers(0, 31),
    st.integers(0, 7),
)
words = st.from_regex(r"[a-z0-9_-]{1,12}", fullmatch=True)
kinds = st.builds(
    lambda vendor, device, subsystem, code, driver, variant, physfn, reset, mdev, others: DeviceKind(
        vendor, device, subsystem, code, driver, driver == "vfio-pci" or (variant and bool(driver)), physfn, reset, mdev, *others
    ),
    ids,
    ids,
    st.none() | st.tuples(ids, ids),
    st.just(-1) | st.integers(0, 0xFFFFFF),
    st.just("") | st.just("vfio-pci") | words,
    st.booleans(),
    st.just("") | addresses,
    st.none() | st.lists(words, max_size=3).map(tuple),
    st.dictionaries(words, numbers, max_size=3).map(lambda types: tuple(sorted(types.items()))),
    st.tuples(
        st.booleans(),
        st.just("") | words,
        st.booleans(),
        st.booleans(),
        st.lists(st.tuples(numbers, numbers), max_size=2).map(tuple),
        st.lists(addresses, max_size=2).map(tuple),
    ),
)
devices = st.dictionaries(addresses, st.builds(DescribedDevice, kinds, st.just("") | st.integers(0, 300).map(str)), max_size=12)


@st.composite
def hardware(draw: st.DrawFn) -> Hardware:
    present = draw(devices)
    present = present or {"0000:01:00.0": DescribedDevice(GPU, "")}
    some = st.sampled_from(sorted(present))
    uses = st.lists(st.builds(Use, names, numbers, st.booleans(), st.just("")), min_size=1, max_size=2).map(tuple)
    holders = st.lists(st.builds(Holder, numbers, names, words, st.booleans()), min_size=1, max_size=2).map(tuple)
    return Hardware(
        draw(numbers),
        Iommu(draw(st.booleans()), draw(names), draw(names), draw(st.none() | st.booleans()), draw(st.booleans())),
        HwRng(draw(st.booleans()), draw(names)),
        present,
        tuple(draw(st.lists(addresses, max_size=3))),
        draw(st.dictionaries(some, uses, max_size=3)),
        draw(st.dictionaries(some, names.filter(str.strip), max_size=3)),
        draw(st.dictionaries(some, holders, max_size=3)),
    )


counts = st.dictionaries(words, numbers, max_size=4)
vmids = st.lists(numbers, max_size=5).map(tuple)
# What the kernel takes as the name of an interface (net/core/dev.c, dev_valid_name).
interfaces = st.lists(st.text(min_size=1, max_size=15).filter(lambda name: not re.search(r"[\s/:\x1c-\x1f\x85]", name)), max_size=5)
next_boots = st.builds(NextBootSummary, numbers, words, numbers, numbers, numbers, numbers, vmids, numbers, st.booleans())
failures = st.lists(st.builds(FailedStartSummary, numbers, numbers, names), max_size=5).map(tuple)
details = st.builds(
    NodeDetails,
    pve=words,
    kernel=words,
    next_kernel=words,
    rng_given=numbers,
    rng_lacking=numbers,
    rng_guests=vmids,
    own_settings=st.dictionaries(words, names, max_size=4),
    settings_left_out=numbers,
    next_boot=st.none() | next_boots,
    failed_starts=numbers,
    failures=failures,
)
summaries = st.builds(
    Summary,
    names,
    numbers,
    words,
    words,
    numbers,
    numbers,
    numbers,
    vmids,
    vmids,
    numbers,
    counts,
    counts,
    counts,
    st.dictionaries(names, names, max_size=4),
    hardware() | st.builds(Unread, names),
    st.none() | interfaces.map(tuple),
    st.none() | numbers,
    st.none() | st.tuples(numbers, numbers),
    vmids,
    numbers,
    st.none() | details,
)


@given(summaries)
@settings(max_examples=25)
def test_what_is_written_is_read(summary: Summary) -> None:
    content = text.dump(summary)
    assert len(content) <= text.LIMIT
    assert text.load(content) == summary


def many(count: int) -> Hardware:
    """A node with GPUs and network cards that each have a group, their VFs, and the board's own devices."""
    present = {f"0000:{number // 32 + 16:02x}:{number % 32:02x}.0": DescribedDevice(VF, str(number + 100)) for number in range(count)}
    present |= {f"0000:{number + 0xE0:02x}:00.0": DescribedDevice(GPU._replace(device=number), str(number)) for number in range(8)}
    present |= {f"0000:00:1f.{number}": DescribedDevice(SMBUS, "50") for number in range(4)}
    uses = {
        f"0000:{number // 32 + 16:02x}:{number % 32:02x}.0": (Use(f"is the port of vmbr{number}" + "x" * 40),) for number in range(count)
    }
    return HARDWARE._replace(devices=present, uses=uses)


def test_three_hundred_idle_devices_fit() -> None:
    content = text.dump(SUMMARY._replace(hardware=many(300)._replace(uses={})))
    assert len(content) < 8000
    loaded = text.load(content).hardware
    assert isinstance(loaded, Hardware) and (len(loaded.devices), loaded.left_out) == (312, 0)


def test_what_does_not_fit_is_left_out_and_counted() -> None:
    known = many(400)
    wanted = max(address for address in known.devices if known.devices[address].kind == VF)
    content = text.dump(SUMMARY._replace(hardware=known), frozenset({wanted}))
    assert 12_000 < len(content) <= text.LIMIT
    loaded = text.load(content).hardware
    assert isinstance(loaded, Hardware)
    assert loaded.left_out > 100 and loaded.left_out + len(loaded.devices) == 412
    kept = [each.kind for each in loaded.devices.values()]
    assert wanted in loaded.devices, "what a mapping names is told first"
    assert sum(kind.class_code == 0x030000 for kind in kept) == 8, "cards before their VFs"
    assert not any(kind == SMBUS for kind in kept), "the board's own devices go first"


def test_everything_long_at_once() -> None:
    """Names, hookscripts, rules and VMIDs of a large cluster leave room for devices."""
    long = SUMMARY._replace(
        unguarded=tuple(range(100, 6000)),
        blocked=tuple(range(100, 6000)),
        rules={f"rule-with-a-long-name-{number}": number for number in range(200)},
        hookscripts={f"local:snippets/{'x' * 200}{number}": "the script is not there " * 20 for number in range(100)},
        hardware=many(400),
        bridges=tuple(f"vnet{number:04}" for number in range(250)),
    )
    content = text.dump(long)
    assert len(content) <= text.LIMIT
    loaded = text.load(content).hardware
    assert isinstance(loaded, Hardware) and len(loaded.devices) > 50
    assert text.load(content).bridges == long.bridges


def test_of_too_many_bridges_none_is_published() -> None:
    """Those that were cut off would be taken for missing."""
    assert text.load(text.dump(SUMMARY._replace(bridges=tuple(f"vnet{number:04}" for number in range(400)), cpus=4))).bridges is None


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "is no JSON"),
        (b"\xff{}", "is no JSON"),
        (b"[" * 9000, "is no JSON"),
        (b"[]", "cannot be used"),
        (b"{}", "lacks 'format'"),
        (b'{"format":2}', "was written by another version of pvehooks"),
        (b'{"format":1}', "lacks 'mode'"),
        (b" " * (1 << 14), "is larger than any summary"),
    ],
)
def test_what_is_no_summary(content: bytes, why: str) -> None:
    with pytest.raises(text.SummaryError, match=why):
        text.load(content)


def paths(document: object, here: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
    """Where something stands in a JSON document."""
    items = document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    return [here, *(path for key, value in items for path in paths(value, (*here, key)))]


def _with_more(known: Hardware) -> Hardware:
    """With a device that has all that is rarely there."""
    rare = GPU._replace(boot_vga=True, reserved=((0xBDF83000, 0xBDF84FFF),), behind=("0000:00:0e.0",))
    return known._replace(devices={**known.devices, "10000:e1:00.0": DescribedDevice(rare, "12")})


DETAILS = NodeDetails(
    "8.4.1",
    "6.8.12-4-pve",
    "6.14.8-2-pve",
    2,
    1,
    (103,),
    {"guard.mode": "audit"},
    0,
    NextBootSummary(1, "6.14.8-2-pve", 1, 1, 0, 0, (101,), 0, True),
)


def test_details_are_cut_to_their_room() -> None:
    """Whatever a node's own settings hold, and the logs of starts that failed: there is room for devices."""
    failures = tuple(FailedStartSummary(vmid, 1, "\u2620" * 400) for vmid in range(9))
    own = {f"rules.some-rule-{number}": "\u2620" * 100 for number in range(300)}
    summary = SUMMARY._replace(
        details=DETAILS._replace(own_settings=own, failed_starts=9, failures=failures, rng_guests=tuple(range(5000)))
    )
    content = text.dump(summary)
    assert len(content) < 6000
    found = text.load(content).details
    assert found is not None and found.failed_starts == 9 and len(found.failures) == 1 and len(found.rng_guests) == 20
    assert found.settings_left_out == 300 - len(found.own_settings) > 200 and found.failures[0].why == "\u2620" * 120


def test_an_older_version_publishes_no_details_and_a_newer_one_more() -> None:
    document = json.loads(text.dump(SUMMARY._replace(details=DETAILS)))
    document["details"]["weather"] = [1, {"rain": "no"}]
    document["next_boot"] = "another thing"
    assert text.load(json.dumps(document).encode()).details == DETAILS
    del document["details"]
    assert text.load(json.dumps(document).encode()).details is None


def test_a_summary_of_an_older_version_has_fewer_attributes() -> None:
    """What an older version does not publish is as with a device that has none of it."""
    document = json.loads(text.dump(SUMMARY._replace(hardware=_with_more(many(1)))))
    for row in document["hardware"]["devices"]:
        for key in ("boot_vga", "reserved", "behind"):
            row.pop(key, None)
    loaded = text.load(json.dumps(document).encode()).hardware
    assert isinstance(loaded, Hardware) and loaded.devices["10000:e1:00.0"].kind == GPU


def test_any_value_of_another_kind_is_refused_in_words() -> None:
    """Whatever stands where something else belongs: a SummaryError or a summary, never another error."""
    full = SUMMARY._replace(
        hookscripts={"local:snippets/a": ""},
        hardware=_with_more(many(1))._replace(
            bridges=("0000:00:01.0",), unread={"0000:e0:00.0": "no"}, holders={"0000:e0:00.0": (Holder(1, "a", "b"),)}
        ),
        details=DETAILS._replace(failed_starts=1, failures=(FailedStartSummary(101, 1, "no"),)),
    )
    whole = json.loads(text.dump(full))
    for path in paths(whole)[1:]:
        for odd in (None, -1, True, "x:y z", [], {}, ["a"], {"a": None}):
            document = json.loads(json.dumps(whole))
            inner = document
            for key in path[:-1]:
                inner = inner[key]
            inner[path[-1]] = odd
            try:
                text.load(json.dumps(document).encode())
            except text.SummaryError:
                continue
