"""Uses planted into random trees, by code that knows nothing of the readers: none is let through, and no look-alike stops a start."""

from __future__ import annotations

import tempfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pvehooks import wording
from pvehooks.facts import hardware
from pvehooks.facts.guests import configs as guests
from pvehooks.host import Host
from pvehooks.rules.engine import findings_at_start
from pvehooks.values import Finding, Severity
from tests.beds import pci, uses
from tests.beds.tree import Content, make_fake_tree

CONFIG = "etc/pve/nodes/pve1/qemu-server/100.conf"
GPU = "0000:01:00.0 class=030000 id=10de:2204 driver=vfio-pci group=14"
DISK = f"0000:02:00.0 class=010802 id=144d:a808 driver=nvme group=14 disk={uses.DISK}/{uses.DISK_NUMBER}/S1 part={uses.PART}/{uses.PART_NUMBER}"
CARD = f"0000:02:00.0 class=020000 id=8086:1533 driver=igb group=14 net={uses.CARD}"
OTHER = "0000:02:00.0"


def blocks(files: dict[str, Content], config: str) -> list[Finding]:
    with tempfile.TemporaryDirectory() as directory:
        host = Host(str(make_fake_tree(directory, {**files, CONFIG: config})))
        guest = guests.read(host, "pve1", 100, guests.gather_context(host, "pve1", None))
        found = findings_at_start(guest, hardware.gather(host, "pve1"))
        return [finding for finding in found if finding.severity is Severity.BLOCK or not finding.examined]


def cases(*groups: tuple[str, tuple[uses.Planter, ...]]) -> list[object]:
    return [
        pytest.param(line, planter, id=f"{planter.__name__} of {'disk' if line is DISK else 'card'}")
        for line, planters in groups
        for planter in planters
    ]


@pytest.mark.parametrize("hostpci", ["0000:01:00.0", "0000:02:00.0"], ids=["group member", "itself"])
@pytest.mark.parametrize(
    ("line", "plant"), cases((DISK, uses.DISK_USES), (CARD, uses.CARD_USES), (CARD, uses.ANY_USES), (DISK, uses.ANY_USES))
)
def test_a_use_refuses_the_start(line: str, plant: uses.Planter, hostpci: str) -> None:
    files = {**uses.idle(), **pci.plant(f"{GPU}\n{line}\n")}
    plant(files, OTHER)
    found = blocks(files, f"hostpci0: {hostpci}\n")
    in_use = {"group-in-use-by-host", "group-in-use-by-guest", "device-in-use-by-guest"}
    assert {finding.rule for finding in found if finding.subject == OTHER} & in_use, found
    assert all(wording.printable(finding.message) == finding.message for finding in found)


@pytest.mark.parametrize(
    ("line", "plant"),
    cases((DISK, uses.DISK_LOOK_ALIKES), (CARD, uses.CARD_LOOK_ALIKES), (CARD, uses.ANY_LOOK_ALIKES), (DISK, uses.ANY_LOOK_ALIKES)),
)
def test_a_look_alike_does_not(line: str, plant: uses.Planter) -> None:
    """The guest names the device itself, which is idle on its host driver: it is bound at the start."""
    files = {**uses.idle(), **pci.plant(f"{GPU}\n{line}\n")}
    plant(files, OTHER)
    assert [finding for finding in blocks(files, f"hostpci0: {OTHER}\n") if finding.rule != "vfio-not-bound"] == []


KINDS = st.sampled_from(["gpu", "disk", "card", "bridge", "smbus", "dead", "stub"])
LINES = {
    "gpu": "class=030000 id=10de:2204",
    "disk": "class=010802 id=144d:a808",
    "card": "class=020000 id=8086:1533",
    "bridge": "class=060400 id=8086:1901 bridge=1",
    "smbus": "class=0c0500 id=8086:a323",
    "dead": "class=020000 id=8086:1533 dead=1",
    "stub": "class=020000 id=8086:1533 driver=pci-stub",
}
DRIVERS = st.sampled_from(["", " driver=vfio-pci", " driver=igb", " driver=mlx5-vfio-pci"])


@st.composite
def topologies(draw: st.DrawFn) -> list[str]:
    """Random devices in random groups; 0000:02:00.0 is left out."""
    slots = draw(st.lists(st.tuples(st.integers(0, 3), st.integers(3, 6), st.integers(0, 2)), max_size=6, unique=True))
    lines = []
    for domain, bus, function in slots:
        kind = draw(KINDS)
        group = draw(st.sampled_from(["", " group=14", " group=15", " group=0"]))
        driver = "" if "driver=" in LINES[kind] else draw(DRIVERS)
        lines.append(f"{'10000' if domain == 3 else f'{domain:04x}'}:{bus:02x}:00.{function} {LINES[kind]}{driver}{group}")
    return lines


VALUES = st.one_of(
    st.sampled_from(
        ["0000:01:00.0", "01:00", "0000:03:00;0000:04:00.1,pcie=1", "mapping=gpu", "mapping=none", "10000:04:00.0", "nonsense", ""]
    ),
    st.text(max_size=30).filter(lambda text: "\n" not in text and "\r" not in text),
)
MAPPINGS = st.one_of(
    st.just(""),
    st.just("gpu\n\tmap node=pve1,path=0000:01:00.0,id=10de:2204,iommugroup=14\n"),
    st.just("gpu\n\tmap node=pve1,path=0000:09:00,id=10de:2204\n\tmap node=pve1\n\tmdev 1\n"),
    st.text(max_size=60),
)


@settings(max_examples=60)
@given(
    topologies(),
    st.lists(VALUES, max_size=3),
    MAPPINGS,
    st.sampled_from([None, *uses.DISK_USES, *uses.CARD_USES, *uses.ANY_USES]),
    st.booleans(),
)
def test_random_trees(lines: list[str], values: list[str], mapping: str, plant: uses.Planter | None, takes_it: bool) -> None:
    """Never a traceback; a planted use of a device in the group that the guest takes always refuses; without hostpci nothing does."""
    line = DISK if plant in uses.DISK_USES else CARD
    files = {**uses.idle(), **pci.plant("\n".join([GPU, line, *lines]))}
    files["etc/pve/mapping/pci.cfg"] = mapping.encode("utf-8", "surrogatepass")
    if plant is not None:
        plant(files, OTHER)
    assert blocks(files, "name: plain\n") == []
    hostpci = [*values, "0000:01:00.0"] if takes_it else values
    found = blocks(files, "".join(f"hostpci{number}: {value}\n" for number, value in enumerate(hostpci)))
    if plant is not None and takes_it:
        assert found
    if plant is not None and hostpci == ["0000:01:00.0"]:
        assert any(finding.subject == OTHER for finding in found), found
