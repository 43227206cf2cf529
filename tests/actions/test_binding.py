"""bind, unbind and virtual functions, against a tree whose sysfs answers as the kernel does."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest

from pvehooks.actions import atboot, persist
from pvehooks.cli.commands import bind, unbind
from pvehooks.cli.commands.bind import Wanted
from pvehooks.cli.devices import Report
from pvehooks.facts import bindings, hardware
from pvehooks.rules.passthrough import bus
from tests.beds import pci, uses
from tests.beds.drivercore import KernelHost
from tests.beds.tree import Content, Link, make_fake_tree

GPU, SOUND, DISK, CARD, TWIN, PF, HELD = (
    f"0000:{at}" for at in ("01:00.0", "01:00.1", "02:00.0", "03:00.0", "04:00.0", "06:00.0", "07:00.0")
)
BUS = f"""
0000:00:01.0 class=060400 id=8086:1901 driver=pcieport group=1 bridge
{GPU} class=030000 id=10de:2204 driver=nouveau group=2
{SOUND} class=040300 id=10de:1aef driver=snd_hda_intel group=2
{DISK} class=010802 id=144d:a808 driver=nvme group=3 disk=nvme0n1/259:0/S1 part=nvme0n1p1/259:1
{CARD} class=020000 id=8086:1533 driver=igb group=4 subsystem=1043:85f0 net=eno1
{TWIN} class=020000 id=8086:1533 driver=igb group=4
{PF} class=020000 id=8086:10c9 driver=igb group=5
{HELD} class=020000 id=8086:1572 driver=vfio-pci group=6
"""
TAKES = {"nouveau": GPU, "snd_hda_intel": SOUND, "nvme": DISK, "igb": f"{CARD} {TWIN} {PF}", "i40e": HELD}
NOW, PERSIST, BOTH = Wanted(True, False), Wanted(False, True), Wanted(True, True)


def planted(directory: Path, table: str = BUS, **more: Content) -> Path:
    files = uses.idle() | pci.plant(table) | {"etc/pve/local": Link("nodes/pve1"), "etc/pve/nodes/pve1/qemu-server": None}
    files["sys/bus/pci/drivers/i40e"] = None
    files |= {f"{pci.ROOT}/{PF}/sriov_totalvfs": "7\n", f"{pci.ROOT}/{PF}/sriov_numvfs": "0\n"}
    files |= {
        "etc/pve/nodes/pve1/qemu-server/101.conf": "hostpci0: 07:00.0\nname: router\n",
        "run/qemu-server/101.pid": "4711\n",
        "proc/4711/cmdline": "/usr/bin/kvm\0-id\x00101\0-device\0vfio-pci,host=0000:07:00.0,id=hostpci0\0",
    }
    uses.mounted_partition(files, DISK)
    return make_fake_tree(directory, files | more)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return planted(tmp_path / "tree")


@pytest.fixture
def host(tree: Path) -> KernelHost:
    return KernelHost(tree, TAKES)


def end_guest(host: KernelHost) -> None:
    Path(host.root, "run/qemu-server/101.pid").unlink()


def bound(host: KernelHost, wanted: Wanted, *addresses: str) -> list[Report]:
    devices = bus(hardware.gather(host, "pve1"))
    return bind.bind_all(host, "pve1", [devices[address] for address in addresses], wanted)


def unbound(host: KernelHost, *addresses: str, now: bool = True, forget: bool = False) -> list[Report]:
    devices = bus(hardware.gather(host, "pve1"))
    return unbind.unbind_all(host, "pve1", [devices[address] for address in addresses], now, forget)


def driver(host: KernelHost, address: str) -> str:
    return bus(hardware.gather(host, "pve1"))[address].driver


def override(host: KernelHost, address: str) -> str:
    return bus(hardware.gather(host, "pve1"))[address].override


# -- now --------------------------------------------------------------------------------------------------------------


def test_bound_and_given_back(host: KernelHost) -> None:
    first, second = bound(host, NOW, GPU, SOUND)
    assert (first.result, first.driver, first.persistent) == ("done", "vfio-pci", False)
    assert first.words == f"is on vfio-pci now; it was on nouveau, until the next boot; for good: pvehooks bind {GPU} --persist"
    assert second.result == "done" and not second.notes
    assert [driver(host, each) for each in (GPU, SOUND)] == ["vfio-pci", "vfio-pci"]
    assert override(host, GPU) == "" and not any("new_id" in path for path, _ in host.written)
    (again,) = bound(host, NOW, GPU)
    assert again.result == "nothing to do" and "is on vfio-pci already" in again.words
    back, sound = unbound(host, GPU, SOUND)
    assert (back.result, back.words, back.driver) == ("done", "is on nouveau now", "nouveau") and sound.driver == "snd_hda_intel"
    assert driver(host, GPU) == "nouveau" and bindings.former(host, GPU) is None
    (again,) = unbound(host, GPU)
    assert (again.result, again.words) == ("nothing to do", "is not on vfio-pci but on nouveau")


def test_a_twin_stays_where_it_is(host: KernelHost) -> None:
    (report,) = bound(host, NOW, CARD)
    assert driver(host, CARD) == "vfio-pci" and driver(host, TWIN) == "igb"
    assert report.notes == (
        f"its IOMMU group 4 also has {TWIN} (Ethernet controller [8086:1533]), on igb: a guest that gets the one takes the other along",
    )


def test_a_probe_that_fails_leaves_the_device_as_it_was(tree: Path) -> None:
    host = KernelHost(tree, TAKES, refuses=(GPU,))
    (report,) = bound(host, BOTH, GPU)
    assert report.result == "refused" and "cannot be bound to vfio-pci" in report.words
    assert bindings.noted(host, GPU) is None and override(host, GPU) == "" and driver(host, GPU) == "nouveau"


@pytest.mark.parametrize("wanted", [NOW, PERSIST])
@pytest.mark.parametrize(
    ("address", "why"),
    [
        pytest.param(DISK, "holds /srv (ext4 on nvme0n1p1)", id="host"),
        pytest.param("0000:00:01.0", "is a bridge", id="bridge"),
    ],
)
def test_refused(address: str, why: str, wanted: Wanted, host: KernelHost) -> None:
    (report,) = bound(host, wanted, address)
    assert report.result == "refused" and why in report.words, report
    assert host.written == [] and bindings.all_noted(host) == {}


def test_refused_while_unknown(tree: Path, host: KernelHost) -> None:
    for name in ("route", "fib_trie", "if_inet6"):
        (tree / "proc/net" / name).unlink()
    (report,) = bound(host, NOW, CARD)
    assert report.result == "refused" and "may be in use, that is unknown" in report.words and host.written == []


def test_without_an_iommu_only_for_boot(tmp_path: Path) -> None:
    table = "\n".join(line.partition(" group=")[0] for line in BUS.splitlines())
    host = KernelHost(planted(tmp_path / "tree", table), TAKES)
    (report,) = bound(host, NOW, GPU)
    assert report.result == "refused" and "has no IOMMU groups" in report.words
    (report,) = bound(host, BOTH, GPU)
    assert report.result == "done" and "at every boot from the next one on; it cannot be bound now" in report.words
    assert host.written == [] and driver(host, GPU) == "nouveau"


# -- giving back ------------------------------------------------------------------------------------------------------


def test_never_while_a_guest_holds_it(host: KernelHost) -> None:
    (report,) = unbound(host, HELD)
    assert report.result == "refused" and report.words == "is hostpci0 of VM 101 (router), which is running. Stop it first: qm shutdown 101"
    assert host.written == []
    end_guest(host)
    (report,) = unbound(host, HELD)
    assert (report.result, report.driver) == ("done", "i40e")


@pytest.mark.parametrize(
    ("files", "who"),
    [
        pytest.param({"proc/900/comm": "dpdk\n", "proc/900/fd/9": Link("/dev/vfio/6")}, "dpdk (pid 900)", id="group"),
        pytest.param({"proc/900/comm": "vpp\n", "proc/900/fd/9": Link("/dev/vfio/devices/vfio0")}, "vpp (pid 900)", id="device"),
        pytest.param({f"{pci.ROOT}/{HELD}/enable": "1\n"}, "a program", id="enabled"),
    ],
)
def test_never_while_a_program_holds_it(files: dict[str, Content], who: str, tmp_path: Path) -> None:
    host = KernelHost(planted(tmp_path / "tree", **files), TAKES)
    end_guest(host)
    (report,) = unbound(host, HELD)
    assert report.result == "refused" and report.words.startswith(f"is held open by {who}, unbinding would hang")
    assert host.written == []


def test_never_while_a_fellow_of_its_group_is_held(tmp_path: Path) -> None:
    fellow = "0000:07:00.1"
    host = KernelHost(planted(tmp_path / "tree", f"{BUS}{fellow} class=020000 id=8086:1572 driver=vfio-pci group=6\n"), TAKES)
    (report,) = unbound(host, fellow)
    assert report.result == "refused" and f"shares its IOMMU group with {HELD}" in report.words and host.written == []


@pytest.mark.parametrize("remembered", [True, False])
def test_given_back_although_vfio_takes_all_of_its_kind(remembered: bool, tmp_path: Path) -> None:
    module = {
        f"{pci.ROOT}/{SOUND}/modalias": f"{SOUND}\n",
        "sys/bus/pci/drivers/snd_hda_intel/module": Link("../../../../module/snd_hda_intel"),
    }
    host = KernelHost(planted(tmp_path / "tree", **module), TAKES, dynamic_ids=(SOUND,))
    bound(host, NOW, SOUND)
    if not remembered:
        Path(host.root, bindings.FORMER[1:], SOUND).unlink()
    (report,) = unbound(host, SOUND)
    assert report.driver == driver(host, SOUND) == "snd_hda_intel"


def test_given_back_to_the_driver_it_was_on(tmp_path: Path) -> None:
    """Two drivers would take it, and the kernel asks the other one first."""
    host = KernelHost(planted(tmp_path / "tree", **{"sys/bus/pci/drivers/nvidia": None}), {"nvidia": GPU, **TAKES})
    bound(host, NOW, GPU)
    (report,) = unbound(host, GPU)
    assert report.driver == driver(host, GPU) == "nouveau"


def test_no_driver_takes_it(host: KernelHost) -> None:
    host.takes = {}
    end_guest(host)
    (report,) = unbound(host, HELD)
    assert report.result == "done" and report.words.startswith("has no driver now") and driver(host, HELD) == ""


# -- at boot ----------------------------------------------------------------------------------------------------------


def test_noted_and_forgotten(host: KernelHost) -> None:
    (report,) = bound(host, PERSIST, CARD)
    assert (report.result, report.driver, report.persistent) == ("done", "igb", True) and host.written == []
    note = bindings.noted(host, CARD)
    assert isinstance(note, bindings.Noted) and note.identity.subsystem == (0x1043, 0x85F0) and note.vfs is None
    before = Path(host.root, bindings.path(CARD)[1:]).read_bytes()
    (report,) = bound(host, PERSIST, CARD)
    assert report.result == "nothing to do" and Path(host.root, bindings.path(CARD)[1:]).read_bytes() == before
    (report,) = unbound(host, CARD, now=False, forget=True)
    assert (report.result, report.persistent) == ("done", False) and bindings.all_noted(host) == {}
    (report,) = unbound(host, CARD, now=False, forget=True)
    assert report.result == "nothing to do"


def applied(host: KernelHost, address: str, patient: bool = False) -> tuple[str, str]:
    outcome = atboot.apply(host, "pve1", address, patient)
    assert outcome is not None
    return outcome.result.value, f"{outcome.label} {outcome.words}"


def test_bound_at_boot(host: KernelHost) -> None:
    bound(host, PERSIST, CARD)
    assert applied(host, CARD) == ("done", f"{CARD} (Ethernet controller [8086:1533]) is on vfio-pci now; it was on igb")
    assert driver(host, CARD) == "vfio-pci" and driver(host, TWIN) == "igb" and applied(host, CARD)[0] == "as wanted"
    assert atboot.apply(host, "pve1", TWIN, patient=False) is None
    (report,) = unbound(host, CARD)
    assert report.driver == "igb" and "it is noted for boot" in report.words


def another(host: KernelHost, **attributes: str) -> None:
    for name, text in attributes.items():
        Path(host.root, pci.ROOT, CARD, name).write_text(f"{text}\n")


@pytest.mark.parametrize(
    ("attributes", "why"),
    [
        pytest.param({"device": "0x10d3"}, "it is 8086:10d3, and 8086:1533 was meant", id="device"),
        pytest.param({"vendor": "0x14e4"}, "it is 14e4:1533, and 8086:1533 was meant", id="vendor"),
        pytest.param({"subsystem_device": "0x1234"}, "its subsystem is 1043:1234, and 1043:85f0 was meant", id="subsystem"),
    ],
)
def test_another_device_at_the_address_is_left_alone(attributes: dict[str, str], why: str, host: KernelHost) -> None:
    bound(host, PERSIST, CARD)
    another(host, **attributes)
    result, words = applied(host, CARD)
    assert result == "not done" and "not the device that was meant" in words and why in words
    assert driver(host, CARD) == "igb" and host.written == []


def serial_number(last: int) -> bytes:
    """Configuration space with a Device Serial Number behind another capability."""
    first = (0x0001 | 1 << 16 | 0x140 << 20).to_bytes(4, "little")
    second = (0x0003 | 1 << 16).to_bytes(4, "little") + bytes([last, 0xCC, 0xBB, 0xFF, 0xFF, 0x21, 0x1B, 0x00])
    return (bytes(0x100) + first).ljust(0x140, b"\0") + second.ljust(0x1000 - 0x140, b"\0")


def test_twins_are_told_apart_by_their_serial_number(host: KernelHost) -> None:
    config = Path(host.root, pci.ROOT, CARD, "config")
    config.write_bytes(serial_number(1))
    bound(host, PERSIST, CARD)
    assert "serial = 00-1b-21-ff-ff-bb-cc-01" in Path(host.root, bindings.path(CARD)[1:]).read_text()
    config.write_bytes(serial_number(2))
    result, words = applied(host, CARD)
    assert result == "not done" and "its serial number is 00-1b-21-ff-ff-bb-cc-02, and 00-1b-21-ff-ff-bb-cc-01 was meant" in words
    config.write_bytes(serial_number(1)[:64])
    assert applied(host, CARD)[0] == "done", "unknown is not different"


def test_twins_are_told_apart_by_their_place(host: KernelHost) -> None:
    """The address is the same, but behind another root port: a card was added, and the buses were numbered anew."""
    bound(host, PERSIST, CARD)
    link = Path(host.root, pci.BUS, CARD)
    link.unlink()
    Path(host.root, "sys/devices/pci0000:00/0000:00:1d.0").mkdir()
    Path(host.root, pci.ROOT, CARD).rename(Path(host.root, pci.ROOT, "0000:00:1d.0", CARD))
    link.symlink_to(f"../../../devices/pci0000:00/0000:00:1d.0/{CARD}")
    result, words = applied(host, CARD)
    assert result == "not done" and f"it sits at pci0000:00/0000:00:1d.0/{CARD}" in words


def test_what_the_host_uses_is_not_taken_at_boot(tmp_path: Path) -> None:
    host = KernelHost(planted(tmp_path / "tree"), TAKES)
    node = hardware.gather(host, "pve1")
    persist.note(host, bus(node)[DISK])
    result, words = applied(host, DISK)
    assert result == "not done" and "holds /srv" in words and driver(host, DISK) == "nvme" and host.written == []


def test_nothing_at_the_address(host: KernelHost) -> None:
    bound(host, PERSIST, CARD)
    Path(host.root, pci.BUS, CARD).unlink()
    result, words = applied(host, CARD)
    assert result == "not done" and "is not on the bus" in words


@pytest.mark.parametrize(
    "text", [b"", b"id = 8086\ndriver = vfio-pci\n", b"id = 8086:1533\n", b"id = 8086:1533\nvfs = -1\n", b"\xff\0=\n", b"=" * 5000]
)
def test_a_broken_note_binds_nothing(text: bytes, host: KernelHost) -> None:
    bound(host, PERSIST, CARD)
    Path(host.root, bindings.path(CARD)[1:]).write_bytes(text)
    result, words = applied(host, CARD)
    assert result == "not done" and "is not as pvehooks wrote it" in words and host.written == []


def test_early_at_boot(tmp_path: Path) -> None:
    """Before udev and pmxcfs there is little more than /proc and /sys."""
    host = KernelHost(planted(tmp_path / "tree"), TAKES)
    bound(host, PERSIST, GPU, CARD)
    for folder in ("etc/pve", "run"):
        shutil.rmtree(Path(host.root, folder))
    assert [applied(host, each)[0] for each in atboot.addresses(host)] == ["done", "done"]


# -- virtual functions ------------------------------------------------------------------------------------------------


def numvfs(host: KernelHost) -> str:
    return Path(host.root, pci.ROOT, PF, "sriov_numvfs").read_text().strip()


def test_virtual_functions(host: KernelHost) -> None:
    (report,) = bound(host, Wanted(True, False, 4), PF)
    assert report.result == "done" and numvfs(host) == "4"
    assert report.words == f"has 4 virtual functions now, until the next boot; for good: pvehooks bind {PF} --vfs 4 --persist"
    (report,) = bound(host, Wanted(True, True, 4), PF)
    assert (report.result, report.persistent) == ("done", True)
    (report,) = bound(host, Wanted(True, True, 4), PF)
    assert report.result == "nothing to do"
    host.written.clear()
    bound(host, Wanted(True, False, 2), PF)
    assert [text for _, text in host.written] == ["0", "2"] and numvfs(host) == "2"
    (report,) = bound(host, Wanted(True, True, 0), PF)
    assert report.result == "done" and numvfs(host) == "0" and bindings.all_noted(host) == {}


def test_virtual_functions_at_boot(host: KernelHost) -> None:
    bound(host, Wanted(False, True, 3), PF)
    assert numvfs(host) == "0" and applied(host, PF)[0] == "done" and numvfs(host) == "3" and applied(host, PF)[0] == "as wanted"


def test_virtual_functions_wait_for_the_driver(host: KernelHost, monkeypatch: pytest.MonkeyPatch) -> None:
    bound(host, Wanted(False, True, 3), PF)
    link = Path(host.root, pci.ROOT, PF, "driver")
    target = link.readlink()
    link.unlink()
    assert applied(host, PF)[0] == "not yet"
    pauses = []

    def appear(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            link.symlink_to(target)

    monkeypatch.setattr(host, "sleep", appear)
    assert applied(host, PF, patient=True)[0] == "done" and len(pauses) == 3 and numvfs(host) == "3"


@pytest.mark.parametrize(
    ("address", "count", "why"),
    [(CARD, 2, "has no SR-IOV"), (PF, 8, "can have at most 7 virtual functions")],
)
def test_virtual_functions_refused(address: str, count: int, why: str, host: KernelHost) -> None:
    (report,) = bound(host, Wanted(True, True, count), address)
    assert report.result == "refused" and why in report.words and host.written == [] and bindings.all_noted(host) == {}


def test_virtual_functions_in_use_stay(tmp_path: Path) -> None:
    virtual = f"0000:07:00.0 class=020000 id=8086:10ca driver=vfio-pci group=6 pf={PF}"
    table = "\n".join(virtual if line.startswith(HELD) else line for line in BUS.splitlines())
    host = KernelHost(planted(tmp_path / "tree", table), TAKES)
    Path(host.root, pci.ROOT, PF, "sriov_numvfs").write_text("1\n")
    (report,) = bound(host, Wanted(True, False, 0), PF)
    assert report.result == "refused" and "has a virtual function in use: 0000:07:00.0 is hostpci0 of VM 101" in report.words
    end_guest(host)
    (report,) = bound(host, NOW, PF)
    assert report.result == "refused" and "has 1 virtual function" in report.words and "--vfs 0" in report.words
    (report,) = bound(host, Wanted(True, False, 2), HELD)
    assert report.result == "refused" and f"is a virtual function itself, of {PF}" in report.words
    (report,) = bound(host, Wanted(True, False, 0), PF)
    assert report.result == "done" and numvfs(host) == "0"


def test_the_kernel_refuses_virtual_functions(host: KernelHost, monkeypatch: pytest.MonkeyPatch) -> None:
    bound(host, Wanted(True, False, 2), PF)
    real = host.write_attribute

    def full(path: str, text: str) -> None:
        if text == "7":
            raise OSError(errno.ENOSPC, "No space left on device")
        real(path, text)

    monkeypatch.setattr(host, "write_attribute", full)
    (report,) = bound(host, Wanted(True, True, 7), PF)
    assert report.result == "refused" and "No space left on device; it has 2 again" in report.words and numvfs(host) == "2"
    assert bindings.all_noted(host) == {}


def test_one_deed_for_boot_only(host: KernelHost) -> None:
    bound(host, PERSIST, PF)
    (report,) = bound(host, Wanted(False, True, 2), PF)
    assert report.result == "refused" and "it is noted for boot already, to get vfio-pci" in report.words
    unbound(host, PF, now=False, forget=True)
    bound(host, Wanted(False, True, 2), PF)
    (report,) = bound(host, PERSIST, PF)
    assert report.result == "refused" and "to get 2 virtual functions" in report.words


# -- what the journal is told -----------------------------------------------------------------------------------------


def told(host: KernelHost, capsys: pytest.CaptureFixture[str], *addresses: str) -> tuple[int, list[str]]:
    capsys.readouterr()
    status = bind.as_at_boot(host, "pve1", list(addresses))
    return status, [line.partition(" ")[2].strip() for line in capsys.readouterr().err.splitlines()]


def test_what_is_told_at_boot(host: KernelHost, capsys: pytest.CaptureFixture[str]) -> None:
    """Early, what was done and what is not there; what udev looks at once more is told by that look, so that nothing is told twice."""
    bound(host, PERSIST, GPU, CARD, TWIN)
    bound(host, Wanted(False, True, 2), PF)
    Path(host.root, pci.ROOT, PF, "driver").unlink()
    another(host, device="0x10d3")
    Path(host.root, pci.BUS, TWIN).unlink()
    status, lines = told(host, capsys)
    assert status == 0 and lines == [
        f"notice:  {GPU} (graphics card [10de:2204]) is on vfio-pci now; it was on nouveau",
        f"error:   {TWIN} (Ethernet controller [8086:1533]) is not on the bus, so it is not given to vfio-pci",
    ]
    status, (line,) = told(host, capsys, CARD)
    assert status == 1 and line.startswith(f"error:   {CARD} (Ethernet controller [8086:10d3]) is left as it is, it is not the device")
    assert told(host, capsys, GPU) == (0, [])
    assert told(host, capsys, DISK) == (0, [])
