"""Where the devices sit, and which VM has which: slots, ports, links, what a start takes as well."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.beds.tree import make_fake_tree
from tests.report import bed
from tests.report.test_forms import found

DMI = "sys/firmware/dmi/entries"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bed.plant("home", tmp_path_factory.mktemp("home") / "tree")


def section(tree: Path, part: str) -> str:
    """The text of a part of the page, a line for each element, without the markup."""
    page = bed.report(tree, "--html", "-")
    inside = re.findall(rf'<h2 id="{part}">.*?</section>', page)[0]
    return re.sub(r"<[^>]*>", "", re.sub(r"<(?:li|p|tr|td|th)\b", "\n<", inside)).strip()


def test_the_map(home: Path) -> None:
    lines = [" ".join(re.split(r"(?<=\.\d)(?=\S)", line)) for line in section(home, "topology").splitlines() if line.strip()]
    assert "Root bus 0000:00, NUMA node 0 (CPUs 0-7, 16-23)" in lines
    assert (
        lines[[line.startswith("0000:06:00.0") for line in lines].index(True) + 1] == "USB: Logitech USB Receiver [046d:c52b] at port 5-1"
    )
    assert "0000:00:1c.0 root portslot PCIEX4_1group 3" in lines
    assert "0000:03:00.0 upper port of a switchgroup 168 GT/s x4 (PCIe 3)" in lines
    assert "0000:04:02.0 lower port of a switchgroup 17" in lines
    card = next(line for line in lines if line.startswith("0000:01:00.0"))
    assert card.endswith("for VM 100, 101slot PCIEX16_1group 148 GT/s x8 (PCIe 3) of 16 GT/s x16 (PCIe 4)")
    assert "3 devices of the board" in lines and lines[-1] == "Empty slot: PCIEX1_1 (x1)"


def test_what_hangs_off_what_is_nested(home: Path) -> None:
    page = bed.report(home, "--html", "-")
    levels = {}
    for part in re.finditer(r"<ul|</ul>|<code>([0-9a-f:.]+)</code>", re.findall(r'<ul class="topo">.*?</section>', page)[0]):
        if part[1]:
            levels[part[1]] = levels.get("", 0)
        else:
            levels[""] = levels.get("", 0) + (1 if part[0] == "<ul" else -1)
    assert [levels[each] for each in ("0000:00:1c.0", "0000:03:00.0", "0000:04:02.0", "0000:06:00.0", "0000:00:17.0")] == [2, 3, 4, 5, 2]


def test_the_json_has_the_same(home: Path) -> None:
    document = found(home)
    assert document["empty_slots"] == ["PCIEX1_1"]
    assert document["places"]["0000:06:00.0"] == {
        "above": ["0000:00:1c.0", "0000:03:00.0", "0000:04:02.0"],
        "port": None,
        "slot": "PCIEX4_1",
        "numa": 0,
        "link": {"speed": 5000, "max_speed": 5000, "width": 1, "max_width": 1},
    }
    assert document["places"]["0000:03:00.0"]["port"] == "upper port of a switch"
    assert {device["address"] for group in document["groups"] for device in group["devices"]} == set(document["places"])


def test_a_slot_of_several_functions_and_ports(tmp_path: Path) -> None:
    """All functions of a card are in its slot; ports of a root complex have one device number, and a slot each."""
    tree = bed.plant("home", tmp_path / "tree")
    places = found(tree)["places"]
    assert [places[each]["slot"] for each in ("0000:01:00.0", "0000:01:00.1")] == ["PCIEX16_1"] * 2
    make_fake_tree(tree, {f"{DMI}/9-0/raw": bed.SLOTS["9-0"][:15] + bytes((0, 0x1B << 3)) + bed.SLOTS["9-0"][17:], f"{DMI}/9-1/raw": b""})
    places = found(tree)["places"]
    assert places["0000:02:00.0"]["slot"] == "PCIEX16_1", "by the port that it hangs off"
    assert places["0000:01:00.0"]["slot"] is None


def test_without_a_table_of_slots(tmp_path: Path) -> None:
    tree = bed.plant("home", tmp_path / "tree")
    for name in bed.SLOTS:
        (tree / DMI / name / "raw").unlink()
        (tree / DMI / name).rmdir()
    assert "The firmware names no slots." in section(tree, "topology") and found(tree)["empty_slots"] == []
    make_fake_tree(tree, {f"{DMI}/9-0/raw": None})
    assert "The names of the slots cannot be read: /sys/firmware/dmi/entries/9-0/raw: Is a directory." in section(tree, "topology")
    assert found(tree)["empty_slots"] is None


def test_a_hostile_name_of_a_slot(tmp_path: Path) -> None:
    tree = bed.plant("home", tmp_path / "tree")
    raw = bed.SLOTS["9-0"].replace(b"PCIEX16_1", b"<script>|`\x1b[2J")
    make_fake_tree(tree, {f"{DMI}/9-0/raw": raw})
    page, text = (bed.report(tree, *form) for form in (["--html", "-"], ["--markdown"]))
    assert "slot &lt;script&gt;|`\\x1b[2J" in page and "<script" not in page and "\x1b" not in page + text
    assert "&lt;script&gt;\\|\\`\\\\x1b" in text


def test_several_numa_nodes(tmp_path: Path) -> None:
    tree = bed.plant("home", tmp_path / "tree")
    for number in tree.glob("sys/devices/pci0000:00/0000:00:1b.0/**/numa_node"):
        number.write_text("1\n")
    text = section(tree, "topology")
    assert "Root bus 0000:00\n" in text and "NUMA node 0" in text and "NUMA node 1" in text


def test_what_distinguishes_equal_devices(tmp_path: Path) -> None:
    """The serial number of a disk, the virtual functions of a card, and that a passed-through controller hides what is plugged in."""
    tree = bed.plant("home", tmp_path / "tree")
    card = tree / "sys/bus/pci/devices/0000:05:00.0"
    (card / "sriov_totalvfs").write_text("7\n")
    assert "0 of 7 virtual functions" in section(tree, "topology") and "serial S1" in section(tree, "topology")
    controller = (tree / "sys/bus/pci/devices/0000:06:00.0").resolve()
    (controller / "driver").unlink()
    (controller / "driver").symlink_to("/sys/bus/pci/drivers/vfio-pci")
    text = section(tree, "topology")
    assert "USB: what is plugged in is not visible while vfio-pci has the controller" in text and "Logitech" not in text


def test_a_row_of_vms_names_their_devices(home: Path) -> None:
    text = section(home, "guests")
    assert "hostpci0: NVIDIA GeForce RTX 3090 [10de:2204] and 1 more" in text
    assert "hostpci0: Renesas uPD720201 USB 3.0 Host Controller [1912:0014]" in text


def test_what_is_typed_for_a_free_device(tmp_path: Path) -> None:
    tree = bed.plant("home", tmp_path / "tree")
    page = bed.report(tree, "--html", "-")
    assert re.findall(r"qm set VMID --hostpciN ([^<]*)<", page) == ["0000:00:17.0"]
    for vmid in (100, 101):
        (tree / bed.CONFIGS / f"{vmid}.conf").unlink()
    typed = re.findall(r"qm set VMID --hostpciN ([^<]*)<", bed.report(tree, "--html", "-"))
    assert "'0000:01:00.0;0000:01:00.1'" in typed, "both functions of the card"


# -- who has which ----------------------------------------------------------------------------------------------------


def rows(tree: Path) -> dict[str, list[str]]:
    """The cells of each row of the table behind the first, by the address in that one."""
    page = bed.report(tree, "--html", "-")
    table = re.findall(r'<table class="who-has(?: many)?">.*?</table>', page)[0]
    found = {}
    for row in re.findall(r"<tr\b.*?</tr>", table):
        cells = [re.sub(r"<[^>]*>", "", cell).strip() for cell in re.findall(r"<t[hd]\b.*?</t[hd]>", row)]
        found[next(iter(re.findall(r"[0-9a-f]{4}:[0-9a-f:.]{7}", cells[0])), "")] = cells[1:]
    return found


def test_who_has_which(home: Path) -> None:
    assert rows(home) == {
        "": ["Group", "Now", "VM 100games", "VM 101games-old", "VM 102usb-stick", "VM 103database"],
        "0000:00:17.0": ["9", "free", "", "", "", ""],
        "0000:01:00.0": ["14", "free", "hostpci0", "hostpci0", "", ""],
        "0000:01:00.1": ["14", "free", "hostpci0", "hostpci0", "", ""],
        "0000:02:00.0": ["15", "host", "", "", "", "hostpci0"],
        "0000:05:00.0": ["17 shared", "host", "", "", "as well", ""],
        "0000:06:00.0": ["17 shared", "not used", "", "", "hostpci0", ""],
    }


def test_who_has_it_now(tmp_path: Path) -> None:
    table = rows(bed.plant("danger", tmp_path / "tree"))
    assert table["0000:06:10.0"] == ["19", "VM 101", "", "has it", ""], "it runs"
    assert table["0000:05:00.0"] == ["17", "dead", "", "", "hostpci1"]
    assert table["0000:04:01.0"] == ["21 shared", "free", "", "", ""] and table["0000:07:00.0"][1] == "host"


def test_a_start_that_takes_what_is_in_use_has_a_triangle(home: Path) -> None:
    page = bed.report(home, "--html", "-")
    marks = re.findall(
        r'<span class="who (\w+)"><svg class="i" aria-hidden="true"><use href="#i-(\w+)"></use></svg>(hostpci0|as well)<', page
    )
    assert marks.count(("danger", "danger", "hostpci0")) == 1 and marks.count(("danger", "danger", "as well")) == 1
    assert marks.count(("named", "guest", "hostpci0")) == 5


def test_many_vms_are_a_list(tmp_path: Path) -> None:
    tree = bed.plant("well", tmp_path / "tree")
    make_fake_tree(tree, {f"{bed.CONFIGS}/{vmid}.conf": bed.plain(vmid, f"g{vmid}", "hostpci0: 01:00\n") for vmid in range(200, 220)})
    table = rows(tree)
    assert table[""] == ["Group", "Now", "VMs"]
    assert table["0000:01:00.0"][2].startswith("VM 100 hostpci0VM 200 hostpci0") and table["0000:01:00.0"][2].endswith(" and 15 more")


def test_what_cannot_be_passed_through_is_not_free(tmp_path: Path) -> None:
    table = rows(bed.plant("no-iommu", tmp_path / "tree"))
    assert table["0000:02:00.0"] == ["none", "not used", ""] and "free" not in {cells[1] for cells in table.values()}
