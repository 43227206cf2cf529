"""What virtual functions are given: MAC, VLAN and the like, now, at boot and before a start."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from pvehooks.actions.pci import bind, unfinished, vfs_at_start
from pvehooks.cli.commands.bind import Wanted, _vf
from pvehooks.cli.devices import DeviceReport
from pvehooks.facts.guests import configs as guests
from pvehooks.facts.pci import bindings
from pvehooks.facts.pci.bindings import BootBinding
from pvehooks.formats import vfsettings
from pvehooks.formats.vfsettings import VfSettings
from pvehooks.host import Completed
from pvehooks.values import Unread
from tests.actions.pci.bed import BUS, CARD, PF, TAKES, applied, bound, end_guest, planted
from tests.actions.pci.test_giveback import Dying
from tests.beds import pci
from tests.beds.drivercore import KernelHost
from tests.beds.forked import forked
from tests.beds.tree import make_fake_tree

MAC, OTHER = "52:54:00:00:00:a0", "52:54:00:00:00:a1"
VF_LINE = re.compile(r"link set dev (\S+) vf (\d+) (\S+) (.*)")


class NetHost(KernelHost):
    """The tree, with a kernel and iproute2; `vfs` is what the card has, `refused` are attributes that its driver refuses."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, TAKES)
        self.vfs: dict[int, dict[str, str]] = {}
        self.refused: tuple[str, ...] = ()
        self.batches: list[str] = []
        self.link_state = "link-state"
        # The names that udev gives it, one before each look of ip, "" for none.
        self.renames: list[str] = []
        self.others: dict[str, int] = {}

    def write_attribute(self, path: str, text: str) -> None:
        super().write_attribute(path, text)
        if path.endswith("sriov_numvfs"):
            # Each new one has a MAC that the driver makes up.
            self.vfs = {number: {"mac": f"9e:00:00:00:00:{number:02x}"} for number in range(int(text))}

    def spawn(self, argv: Sequence[str], timeout: float) -> int:
        return self.run(argv, timeout).status if argv[0] == "ip" else 0

    def run(self, argv: Sequence[str], timeout: float, env: Mapping[str, str] | None = None) -> Completed:
        if argv[0] != "ip":
            return super().run(argv, timeout, env)
        if argv[1] == "-json":
            interfaces = Path(self.root, pci.ROOT, PF, "net")
            if self.renames and (name := self.renames.pop(0)):
                next(interfaces.iterdir()).rename(interfaces / name)
            index = 2 if self.exists(f"/sys/bus/pci/devices/{PF}/net/{argv[-1]}") else self.others.get(argv[-1])
            link = {"ifindex": index, "ifname": argv[-1], "vfinfo_list": [self._shown(number) for number in self.vfs] if index == 2 else []}
            return Completed(0, json.dumps([link]), "") if index else Completed(1, "", f'Device "{argv[-1]}" does not exist.\n')
        lines = self.read_text(argv[-1]).split("\n")
        self.batches += lines
        for line in lines:
            match = VF_LINE.fullmatch(line)
            assert match and match[1] == "if2", line
            if match[3] not in self.refused:
                self.vfs[int(match[2])][match[3]] = match[4]
        return Completed(0, "", "RTNETLINK answers: Operation not supported\nCommand failed -:1\n" if self.refused else "")

    def _shown(self, number: int) -> dict[str, object]:
        """As iproute2 6.1 shows it."""
        values = self.vfs[number]
        vlan, _, qos = values.get("vlan", "0 qos 0").partition(" qos ")
        list_ = [{"vlan": int(vlan), "qos": int(qos), "protocol": "802.1Q"}] if int(vlan) else [{"protocol": "802.1Q"}]
        return {
            "vf": number,
            "address": values["mac"],
            "vlan_list": list_,
            "rate": {"max_tx": int(values.get("max_tx_rate", 0)), "min_tx": 0},
            "spoofchk": values.get("spoofchk", "on") == "on",
            self.link_state: values.get("state", "auto"),
            "trust": values.get("trust", "off") == "on",
        }


@pytest.fixture
def host(tmp_path: Path) -> NetHost:
    table = BUS.replace(
        f"{PF} class=020000 id=8086:10c9 driver=igb group=5",
        f"{PF} class=020000 id=8086:10c9 driver=igb group=5 net=ens6/52:54:00:00:00:06",
    )
    return NetHost(planted(tmp_path / "tree", table))


def wanted(*vf: str, now: bool = True, persist: bool = True, count: int = 2) -> Wanted:
    return Wanted(now, persist, count, tuple(map(_vf, vf)))


def macs(host: NetHost) -> list[str]:
    return [values["mac"] for values in host.vfs.values()]


def test_all_that_can_be_set(host: NetHost) -> None:
    (report,) = bound(host, wanted(f"0:mac={MAC},vlan=100:3,trust=on,spoofchk=off,link-state=enable,rate=1000", "all:vlan=7"), PF)
    assert report.result == "done", report.words
    assert host.vfs[0] == {"mac": MAC, "vlan": "100 qos 3", "trust": "on", "spoofchk": "off", "state": "enable", "max_tx_rate": "1000"}
    assert host.vfs[1]["vlan"] == "7 qos 0"
    assert report.notes[0] == f"virtual function 0: mac={MAC},vlan=100:3,trust=on,spoofchk=off,link-state=enable,rate=1000"
    (report,) = bound(host, wanted("1:vlan=0", "all:trust=on"), PF)
    assert (host.vfs[1]["vlan"], host.vfs[1]["trust"]) == ("0 qos 0", "on")


def test_macs_are_the_same_at_every_boot(host: NetHost) -> None:
    bound(host, wanted(), PF)
    first = macs(host)
    assert len(set(first)) == 2 and all(mac.startswith("02:") for mac in first)
    host.write_attribute(f"/sys/bus/pci/devices/{PF}/sriov_numvfs", "0")
    assert applied(host, PF) == ("done", f"{PF} (Ethernet controller [8086:10c9]) has 2 virtual functions now, as noted")
    assert macs(host) == first
    assert applied(host, PF)[0] == "as wanted"


def test_what_a_reset_took_away_comes_back_at_the_next_look(host: NetHost) -> None:
    bound(host, wanted("all:trust=on,vlan=5"), PF)
    before = {number: dict(values) for number, values in host.vfs.items()}
    host.vfs = {number: {"mac": "00:00:00:00:00:00"} for number in host.vfs}
    assert applied(host, PF)[0] == "done" and host.vfs == before


def test_present_ones_keep_their_mac(host: NetHost) -> None:
    """A VM may use them: nobody asked for another one."""
    host.write_attribute(f"/sys/bus/pci/devices/{PF}/sriov_numvfs", "2")
    before = macs(host)
    bound(host, wanted(), PF)
    assert macs(host) == before
    bound(host, wanted(f"1:mac={MAC}"), PF)
    assert macs(host) == [before[0], MAC]


def test_driver_refuses_one(host: NetHost) -> None:
    """What the card shows counts: the others are made, and what is not is named. Nothing is noted for boot."""
    host.refused = ("trust",)
    (report,) = bound(host, wanted("all:trust=on,vlan=5"), PF)
    assert report.result == "refused" and host.vfs[1]["vlan"] == "5 qos 0"
    assert report.words.startswith(
        "has 2 virtual functions now, but virtual function 0 has trust off, and not on; virtual function 1 has trust off"
    )
    assert "(RTNETLINK answers: Operation not supported). See: ip link show ens6" in report.words
    assert bindings.all_noted(host) == {}


def test_rate_waits_for_the_link(host: NetHost) -> None:
    """At boot there is none yet: that keeps neither the other settings nor the drivers from being made."""
    bound(host, wanted("all:rate=100,vlan=5"), PF)
    host.write_attribute(f"/sys/bus/pci/devices/{PF}/sriov_numvfs", "0")
    host.refused = ("max_tx_rate",)
    operstate = Path(host.root, pci.ROOT, PF, "net/ens6/operstate")
    operstate.write_text("down\n")
    assert applied(host, PF)[0] == "done" and host.vfs[1]["vlan"] == "5 qos 0" and "max_tx_rate" not in host.vfs[1]
    operstate.write_text("up\n")
    state, words = applied(host, PF)
    assert state == "not done" and "does not have its 2 virtual functions as noted: virtual function 0 has rate 0, and not 100" in words
    host.refused = ()
    assert applied(host, PF)[0] == "done" and host.vfs[1]["max_tx_rate"] == "100"


def test_what_is_as_noted_is_not_set_again(host: NetHost) -> None:
    """i40e resets a virtual function also for the MAC that it has, and a VM may run with it."""
    bound(host, wanted(f"0:mac={MAC}", f"1:mac={OTHER},vlan=5"), PF)
    host.vfs[1]["mac"] = "52:54:00:00:00:99"
    host.batches.clear()
    assert applied(host, PF)[0] == "done" and macs(host) == [MAC, OTHER]
    assert [line for line in host.batches if line] == [f"link set dev if2 vf 1 mac {OTHER}", "link set dev if2 vf 1 vlan 5 qos 0"]


@pytest.mark.parametrize(
    "others",
    [pytest.param({}, id="the old name is gone"), pytest.param({"ens6": 3, "eth1": 4}, id="another card has the old name")],
)
def test_udev_renames_the_card_meanwhile(others: dict[str, int], host: NetHost) -> None:
    """At boot it does so just then."""
    bound(host, wanted("all:vlan=5"), PF)
    host.write_attribute(f"/sys/bus/pci/devices/{PF}/sriov_numvfs", "0")
    host.renames, host.others = ["eth1", "", "enp6s0", ""], others
    assert applied(host, PF)[0] == "done" and host.vfs[1]["vlan"] == "5 qos 0" and host.renames == []


def test_rate_is_read_back_while_the_card_is_renamed(host: NetHost) -> None:
    """The link's state is that of the card, whatever its name is by then."""
    bound(host, wanted("all:rate=100"), PF)
    host.write_attribute(f"/sys/bus/pci/devices/{PF}/sriov_numvfs", "0")
    Path(host.root, pci.ROOT, PF, "net/ens6/operstate").write_text("up\n")
    host.refused, host.renames = ("max_tx_rate",), ["eth1", "", "eth2", "", "eth3", "", "eth4", ""]
    state, words = applied(host, PF)
    assert state == "not done" and "virtual function 0 has rate 0, and not 100" in words


def test_no_end_of_renaming(host: NetHost) -> None:
    bound(host, wanted("all:vlan=5"), PF)
    host.renames = ["a", "b", "c", "d"]
    state, words = applied(host, PF)
    assert state == "not done" and words.endswith('cannot be read: ip link show b: Device "b" does not exist.')


def test_ip_takes_an_interface_by_its_index() -> None:
    """The one of this system: in a network of its own, which has nothing but lo."""
    batch = "link set dev if1 mtu 1400\nlink show dev lo\n"
    done = subprocess.run(["unshare", "--net", "ip", "-force", "-batch", "-"], input=batch, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and " mtu 1400 " in done.stdout, done


def test_interface_that_comes_after_the_driver(host: NetHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """As that of mlx5_core: udev's try waits for it, or else its functions would be without their MACs."""
    bound(host, wanted("all:vlan=5"), PF)
    host.write_attribute(f"/sys/bus/pci/devices/{PF}/sriov_numvfs", "0")
    interfaces = Path(host.root, pci.ROOT, PF, "net")
    interfaces.rename(interfaces.with_name("later"))
    monkeypatch.setattr(host, "sleep", lambda _: interfaces.with_name("later").rename(interfaces))
    assert applied(host, PF, patient=True)[0] == "done" and host.vfs[1]["vlan"] == "5 qos 0"


@pytest.mark.parametrize(
    ("vf", "why"),
    [
        (("2:vlan=5",), "there is no virtual function 2 of 2: they are 0 to 1"),
        ((f"0:mac={MAC}", f"1:mac={MAC}"), "two virtual functions would have the same MAC"),
    ],
)
def test_refused(vf: tuple[str, ...], why: str, host: NetHost) -> None:
    (report,) = bound(host, wanted(*vf), PF)
    assert report.result == "refused" and why in report.words and host.written == [] and bindings.all_noted(host) == {}


def test_card_without_an_interface(tmp_path: Path) -> None:
    host = NetHost(planted(tmp_path / "tree"))
    (report,) = bound(host, wanted("0:vlan=5"), PF)
    assert report.result == "refused" and "has no network interface" in report.words and host.written == []


def test_functions_for_vfio_have_no_driver_of_the_host(host: NetHost) -> None:
    """None is made with one; the switch is put back."""
    switch = Path(host.root, pci.ROOT, PF, "sriov_drivers_autoprobe")
    switch.write_text("1\n")
    (report,) = bound(host, wanted("all:driver=vfio-pci"), PF)
    names = [(path.rpartition("/")[2], text) for path, text in host.written]
    assert names == [("sriov_drivers_autoprobe", "0"), ("sriov_numvfs", "2"), ("sriov_drivers_autoprobe", "1")]
    # The bed's kernel makes none that could be bound.
    assert "virtual function 0 is not there" in report.words


@pytest.mark.parametrize("refused", [(), ("trust",)])
def test_function_goes_to_vfio(refused: tuple[str, ...], tmp_path: Path) -> None:
    """Also where its card refuses something else."""
    card = f"{PF} class=020000 id=8086:10c9 driver=igb group=5"
    table = (
        BUS.replace(card, f"{card} net=ens6/52:54:00:00:00:06") + f"0000:06:10.0 class=020000 id=8086:10ca driver=igbvf group=9 pf={PF}\n"
    )
    host = NetHost(planted(tmp_path / "tree", table))
    host.write_attribute(f"/sys/bus/pci/devices/{PF}/sriov_numvfs", "1")
    host.refused = refused
    (report,) = bound(host, wanted("0:driver=vfio-pci,trust=on", count=1), PF)
    assert report.result == ("refused" if refused else "done"), report.words
    assert host.link_name("/sys/bus/pci/devices/0000:06:10.0/driver") == "vfio-pci"
    # The MAC that was not asked for comes with the next boot.
    assert refused or [applied(host, PF)[0] for _ in range(2)] == ["done", "as wanted"]


NODES, GUESTS = "0000:06:10.0", "0000:06:10.1"


class IgbvfHost(Dying, NetHost):
    """With a driver of the node for two virtual functions; `found` is the MAC that it has found when it took each."""

    def __init__(self, directory: Path) -> None:
        card = f"{PF} class=020000 id=8086:10c9 driver=igb group=5"
        functions = "".join(f"{address} class=020000 id=8086:10ca group=9 pf={PF}\n" for address in (NODES, GUESTS))
        table = BUS.replace(card, f"{card} net=ens6/52:54:00:00:00:06") + functions
        super().__init__(planted(directory, table, **{"sys/bus/pci/drivers/igbvf": None}))
        self.takes = TAKES | {"igbvf": f"{NODES} {GUESTS}"}
        self.switch = Path(self.root, pci.ROOT, PF, "sriov_drivers_autoprobe")
        self.switch.write_text("1\n")
        self.found: dict[str, str] = {}

    def _probe(self, address: str, driver: str) -> None:
        super()._probe(address, driver)
        if driver == "igbvf" and self._link(address).is_symlink():
            self.found[address] = self.vfs.get(int(address[-1]), {}).get("mac", "")

    def drivers(self) -> list[str]:
        return [self._link(address).resolve().name if self._link(address).is_symlink() else "" for address in (NODES, GUESTS)]


def of_both(host: KernelHost) -> DeviceReport:
    """One for the node, one for a VM."""
    (report,) = bound(host, wanted(f"0:mac={MAC}", "1:driver=vfio-pci"), PF)
    return report


def test_the_node_s_driver_reads_the_mac_that_was_set(tmp_path: Path) -> None:
    host = IgbvfHost(tmp_path / "tree")
    report = of_both(host)
    assert report.result == "done", report
    assert host.drivers() == ["igbvf", "vfio-pci"] and host.found == {NODES: MAC}
    assert host.switch.read_text() == "1" and host.names(unfinished.DIRECTORY) == []


def test_a_running_vm_keeps_the_mac_that_it_has_set(tmp_path: Path) -> None:
    """With trust=on it may; its next start sets what is noted."""
    host = IgbvfHost(tmp_path / "tree")
    bound(host, wanted(f"0:mac={MAC}", f"1:driver=vfio-pci,mac={OTHER},trust=on"), PF)
    for number in (0, 1):
        host.vfs[number]["mac"] = f"52:54:00:00:00:9{number}"
    Path(host.root, "etc/pve/nodes/pve1/qemu-server/101.conf").write_text(f"hostpci0: {GUESTS}\n")
    Path(host.root, "proc/4711/cmdline").write_text(f"/usr/bin/kvm\0-id\x00101\0-device\0vfio-pci,host={GUESTS},id=hostpci0\0")
    assert applied(host, PF)[0] == "done" and macs(host) == [MAC, "52:54:00:00:00:91"]
    assert applied(host, PF)[0] == "as wanted"
    end_guest(host)
    assert applied(host, PF)[0] == "done" and macs(host) == [MAC, OTHER]


def test_a_switch_that_the_administrator_set_stays(tmp_path: Path) -> None:
    """Then no driver of the node is to take one; those for vfio-pci go there all the same."""
    host = IgbvfHost(tmp_path / "tree")
    host.switch.write_text("0\n")
    assert of_both(host).result == "done"
    assert host.drivers() == ["", "vfio-pci"] and host.switch.read_text() == "0\n"


def dies(host: IgbvfHost, number: int, before: bool) -> int:
    host.left, host.before = number, before
    code = forked(lambda: of_both(host))
    host.left = 0
    return code


# The note, the switch, and the number; the batch for ip (the bed sets nothing); of the one for vfio-pci a note, four writes to sysfs and the note
# away; the switch, the probe, and the first note away; what is noted for boot.
STEPS_OF_MAKING = 3 + 1 + 5 + 3 + 1


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("number", range(1, STEPS_OF_MAKING + 1))
def test_killed_while_they_are_made(number: int, before: bool, tmp_path: Path) -> None:
    """The next look gives the node's its driver; none stays without one, and the switch is as it was."""
    host = IgbvfHost(tmp_path / "tree")
    assert dies(host, number, before) == 9
    bind.finish_begun(host)
    made = host.read_text(f"/sys/bus/pci/devices/{PF}/sriov_numvfs") == "2"
    assert host.drivers()[0] == ("igbvf" if made else "")
    assert host.switch.read_text().strip() == "1" and host.names(unfinished.DIRECTORY) == []


def test_the_steps_of_making_are_all(tmp_path: Path) -> None:
    assert dies(IgbvfHost(tmp_path / "tree"), STEPS_OF_MAKING + 1, True) == 0


# -- before a start -----------------------------------------------------------------------------------------------------


def test_before_a_start(tmp_path: Path) -> None:
    card = f"{PF} class=020000 id=8086:10c9 driver=igb group=5"
    vfs = "".join(f"0000:06:10.{number} class=020000 id=8086:10ca driver=vfio-pci group=9 pf={PF}\n" for number in (0, 1))
    table = BUS.replace(card, f"{card} net=ens6/52:54:00:00:00:06") + vfs
    host = NetHost(planted(tmp_path / "tree", table, **{"etc/pve/nodes/pve1/qemu-server/100.conf": "hostpci0: 06:10.1\n"}))
    bound(host, wanted("all:vlan=5,trust=on"), PF)
    host.vfs = {number: {"mac": "00:00:00:00:00:00"} for number in host.vfs}
    guest = guests.read(host, "pve1", 100, guests.gather_context(host, "pve1", None))
    host.batches.clear()
    vfs_at_start.restore(host, "pve1", guest)
    assert host.vfs[1] == {"mac": host.vfs[1]["mac"], "vlan": "5 qos 0", "trust": "on"} and host.vfs[1]["mac"].startswith("02:")
    assert host.vfs[0] == {"mac": "00:00:00:00:00:00"}, "another VM may use it"


def test_before_a_start_they_are_made_again(host: NetHost) -> None:
    make_fake_tree(host.root, {"etc/pve/nodes/pve1/qemu-server/100.conf": "hostpci0: 06:10.1\n"})
    bound(host, wanted("all:vlan=5"), PF)
    host.write_attribute(f"/sys/bus/pci/devices/{PF}/sriov_numvfs", "0")
    guest = guests.read(host, "pve1", 100, guests.gather_context(host, "pve1", None))
    vfs_at_start.restore(host, "pve1", guest)
    assert len(host.vfs) == 2 and host.vfs[0]["vlan"] == "5 qos 0"


@pytest.mark.parametrize("name", ["link-state", "link_state"])
def test_a_state_of_the_link_that_the_driver_did_not_take(name: str, host: NetHost) -> None:
    host.link_state, host.refused = name, ("state",)
    (report,) = bound(host, wanted("0:link-state=disable", count=1), PF)
    assert "virtual function 0 has link-state auto, and not disable" in report.words


def test_a_driver_that_comes_meanwhile(tmp_path: Path) -> None:
    """Of functions of which one is for the node, udev loads the driver of all: it is looked at again."""
    card, function = f"{PF} class=020000 id=8086:10c9 driver=igb group=5", "0000:06:10.0"
    table = BUS.replace(card, f"{card} net=ens6/52:54:00:00:00:06") + f"{function} class=020000 id=8086:10ca group=9 pf={PF}\n"
    host = NetHost(planted(tmp_path / "tree", table, **{"sys/bus/pci/drivers/igbvf": None}))
    host.write_attribute(f"/sys/bus/pci/devices/{PF}/sriov_numvfs", "1")
    host.takes = TAKES | {"igbvf": function}
    host.overtaking = ["igbvf"]
    (report,) = bound(host, wanted("0:driver=vfio-pci", count=1), PF)
    assert report.result == "done" and host.overtaking == [], report
    assert host.read_text(f"/sys/bus/pci/devices/{function}/driver_override") == "(null)"
    assert host.link_name(f"/sys/bus/pci/devices/{function}/driver") == "vfio-pci"


# -- how they are written -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("mac=52:54:00:00:00", "is not the MAC of one interface"),
        ("mac=53:54:00:00:00:01", "is not the MAC of one interface"),
        ("mac=00:00:00:00:00:00", "is not the MAC of one interface"),
        ("vlan=4095", "is not a VLAN"),
        ("vlan=1:8", "is not a VLAN"),
        ("vlan=", "is not a VLAN"),
        ("trust=yes", "trust=yes is neither on nor off"),
        ("link-state=up", "link-state=up is none of auto, enable, disable"),
        ("rate=fast", "is not a rate"),
        ("driver=igbvf", "driver=igbvf is none of vfio-pci, host"),
        ("colour=red", "'colour=red' is none of mac=, vlan="),
        ("vlan=1,vlan=2", "vlan= is given twice"),
    ],
)
def test_no_settings(text: str, why: str) -> None:
    found = vfsettings.parse(text)
    assert isinstance(found, str) and why in found


@pytest.mark.parametrize(
    "text", ["", f"mac={MAC},vlan=100:3,trust=on,spoofchk=off,link-state=auto,rate=0,driver=vfio-pci", "vlan=0", "rate=100"]
)
def test_settings_are_written_as_they_are_read(text: str) -> None:
    found = vfsettings.parse(text)
    assert isinstance(found, VfSettings) and found.text == text


def test_note_that_someone_edited(host: NetHost) -> None:
    bound(host, wanted(), PF)
    path = Path(host.root, f"etc/pvehooks/bind.d/{PF}")
    good = path.read_text()
    note = bindings.noted(host, PF)
    assert isinstance(note, BootBinding) and len(note.vf_settings) == 2
    for line, why in (("vf0 = vlan=9999", "is not a VLAN"), ("vf7 = vlan=1", "there are 2 virtual functions, from 0 on")):
        path.write_text(f"{good}{line}\n")
        broken = bindings.noted(host, PF)
        assert isinstance(broken, Unread) and why in broken.why and f"/etc/pvehooks/bind.d/{PF}: vf" in broken.why


def test_a_card_that_is_no_such(host: NetHost) -> None:
    (report,) = bound(host, wanted("0:vlan=1"), CARD)
    assert report.result == "refused" and "does not support SR-IOV" in report.words
