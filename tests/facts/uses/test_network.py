"""NICs in use: each use as a real kernel shows it, and beside it what looks alike and must not count."""

from __future__ import annotations

from pathlib import Path

import pytest

from pvehooks.facts.guests.running import RunningGuests
from pvehooks.facts.pci import devices as pci
from pvehooks.facts.uses import VirtualFunctions
from pvehooks.facts.uses.containers import Containers
from pvehooks.facts.uses.network import NetworkUses
from pvehooks.host import Host
from pvehooks.values import PciDevice, Unread, Uses
from tests.beds.tree import Content, Link, make_fake_tree
from tests.facts import captures

BUS = "/sys/bus/pci/devices"
NIC = "0000:03:00.0"
NODE = "pve1"
UP, DOWN = "0x1003\n", "0x1002\n"

# Texts of a 6.18 kernel, one interface each.
ROUTES = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
NETWORK = "{}\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
DEFAULT = "{}\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
BEYOND = "{}\t0000090A\t010200C0\t0003\t0\t0\t0\t0000FFFF\t0\t0\t0\n"
TRIE = """\
Local:
  +-- 0.0.0.0/0 3 0 5
     +-- 127.0.0.0/8 2 0 2
        |-- 127.0.0.1
           /32 host LOCAL
     +-- 192.0.2.0/24 2 0 2
        |-- 192.0.2.0
           /24 link UNICAST
        |-- 192.0.2.10
           /32 host LOCAL
        |-- 192.0.2.255
           /32 link BROADCAST
"""
INET6 = "fd000000000000010000000000000005 06 40 00 82     {}\n"
LINK_LOCAL = "fe80000000000000fc6d3cfffed2c00d 06 40 20 80     {}\n"
DEFAULT6 = f"{'0' * 32} 00 {'0' * 32} 00 fd000000000000000000000000000001 00000400 00000002 00000000 00000003     {{}}\n"
LINK_ROUTE6 = f"fe80{'0' * 28} 40 {'0' * 32} 00 {'0' * 32} 00000100 00000001 00000000 00000001     {{}}\n"
NO_ROUTE6 = f"{'0' * 32} 00 {'0' * 32} 00 {'0' * 32} ffffffff 00000001 00000000 00200200       lo\n"


def nic(name: str = "eno1", address: str = NIC, **files: Content) -> dict[str, Content]:
    """A network card of that name: `files` are what its directory in sysfs has besides (upper_vmbr0, master)."""
    place = f"/sys/devices/pci0000:00/0000:00:1c.0/{address}"
    return {
        f"{BUS}/{address}": Link(f"../../../devices/pci0000:00/0000:00:1c.0/{address}"),
        f"{place}/class": "0x020000\n",
        f"{place}/driver": Link("../../../../bus/pci/drivers/igb"),
        f"/sys/class/net/{name}": Link(f"../../devices/pci0000:00/0000:00:1c.0/{address}/net/{name}"),
        f"{place}/net/{name}/flags": UP,
        **{f"{place}/net/{name}/{each}": content for each, content in files.items()},
    }


def upper(name: str, kind: str = "", flags: str = UP, on: tuple[str, ...] = ()) -> dict[str, Content]:
    """A virtual interface; `on` are those that stand on it."""
    place = f"/sys/devices/virtual/net/{name}"
    return {
        f"/sys/class/net/{name}": Link(f"../../devices/virtual/net/{name}"),
        f"{place}/flags": flags,
        f"{place}/uevent": (f"DEVTYPE={kind}\n" if kind else "") + f"INTERFACE={name}\n",
        **{f"{place}/upper_{each}": Link(f"../{each}") for each in on},
    }


def net(routes: str = "", inet6: str = "", routes6: str = NO_ROUTE6) -> dict[str, Content]:
    return {
        "/proc/net/route": ROUTES + routes,
        "/proc/net/fib_trie": TRIE,
        "/proc/net/if_inet6": inet6,
        "/proc/net/ipv6_route": routes6,
    }


def on(name: str) -> Link:
    return Link(f"../../../../../virtual/net/{name}")


def looked(directory: Path, files: dict[str, Content], address: str = NIC) -> Uses:
    host = Host(str(make_fake_tree(directory, files)))
    return NetworkUses(host, NODE, Containers(host, NODE)).of(devices(host)[address])


def devices(host: Host) -> dict[str, PciDevice]:
    found = pci.devices(host)
    assert not isinstance(found, Unread)
    return dict(found)


def sentences(directory: Path, files: dict[str, Content]) -> list[str]:
    uses = looked(directory, files)
    assert uses.unread == ()
    return [use.sentence for use in uses.found]


# -- what it does now -------------------------------------------------------------------------------------------------

VMBR0 = "is the uplink of vmbr0 (192.0.2.10/24)"
DEFAULT_VMBR0 = "carries the default route (vmbr0)"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param(net(NETWORK.format("eno1")), ["has the address 192.0.2.10/24 (eno1)"], id="IPv4 address"),
        pytest.param(net("", INET6.format("eno1")), ["has the address fd00:0:0:1::5/64 (eno1)"], id="IPv6 address"),
        pytest.param(
            net(DEFAULT.format("eno1") + NETWORK.format("eno1")),
            ["has the address 192.0.2.10/24 (eno1)", "carries the default route (eno1)"],
            id="default route",
        ),
        pytest.param(net("", "", DEFAULT6.format("eno1")), ["carries the default route (eno1)"], id="IPv6 default route"),
        pytest.param(net(BEYOND.format("eno1")), ["carries the route to 10.9.0.0/16 (eno1)"], id="another route"),
        pytest.param(
            {**net(NETWORK.format("eno1")), "/proc/net/fib_trie": "Main:\n"},
            ["carries the route to 192.0.2.0/24 (eno1)"],
            id="a network, the address not known",
        ),
        pytest.param(
            {**net(), "/proc/net/pppoe": "Id       Address              Device\n0000A41F 00:11:22:33:44:55     eno1\n"},
            ["carries a PPPoE connection (eno1)"],
            id="PPPoE",
        ),
        pytest.param({**net()}, [], id="up, with nothing"),
        pytest.param(net("", LINK_LOCAL.format("eno1"), LINK_ROUTE6.format("eno1") + NO_ROUTE6), [], id="link-local address only"),
        pytest.param(net(DEFAULT.format("eno10") + NETWORK.format("eno1.5"), INET6.format("eno2")), [], id="others' addresses"),
        pytest.param(net(NETWORK.format("eno1").replace("\t0001\t", "\t0000\t")), [], id="a route that is down"),
        pytest.param(net("*\t0000090A\t00000000\t0200\t0\t0\t0\t0000FFFF\t0\t0\t0\neno1\tnonsense\n\n"), [], id="rejected, and no route"),
    ],
)
def test_addresses_and_routes(tmp_path: Path, files: dict[str, Content], expected: list[str]) -> None:
    assert sentences(tmp_path, {**nic(), **files}) == expected


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param(
            {
                **nic(upper_vmbr0=on("vmbr0"), master=on("vmbr0")),
                **upper("vmbr0", "bridge"),
                **net(DEFAULT.format("vmbr0") + NETWORK.format("vmbr0")),
            },
            [VMBR0, DEFAULT_VMBR0],
            id="bridge, seen under two names",
        ),
        pytest.param(
            {**nic(master=on("vmbr1")), **upper("vmbr1", "bridge"), **net()}, ["is the uplink of vmbr1"], id="bridge without address"
        ),
        pytest.param({**nic(master=on("vmbr1")), **upper("vmbr1", "bridge", DOWN), **net()}, [], id="bridge that is down"),
        pytest.param(
            {
                **nic(master=on("bond0")),
                **upper("bond0", "bond", on=("vmbr0", "bond0.5")),
                **upper("vmbr0", "bridge"),
                **upper("bond0.5", "vlan", DOWN),
                **net(NETWORK.format("vmbr0")),
            },
            ["is a slave of bond0, which carries vmbr0 (192.0.2.10/24)"],
            id="bond that a bridge stands on",
        ),
        pytest.param({**nic(**{"upper_eno1.5": on("eno1.5")}), **upper("eno1.5", "vlan"), **net()}, ["carries the VLAN eno1.5"], id="VLAN"),
        pytest.param({**nic(**{"upper_eno1.5": on("eno1.5")}), **upper("eno1.5", "vlan", DOWN), **net()}, [], id="VLAN that is down"),
        pytest.param(
            {**nic(master=on("ovs-system")), **upper("ovs-system", "", DOWN), **net()}, ["is a port of an Open vSwitch bridge"], id="OVS"
        ),
        pytest.param(
            {
                **nic(master=on("ovs-system")),
                **upper("ovs-system", "", DOWN),
                **net(NETWORK.format("vmbr0") + DEFAULT.format("vmbr0")),
                "/etc/network/interfaces": "auto vmbr0\niface vmbr0 inet static\n\tovs_type OVSBridge\n\tovs_ports eno1 vlan5\n",
            },
            ["is a port of the Open vSwitch bridge vmbr0 (192.0.2.10/24)", DEFAULT_VMBR0],
            id="OVS bridge that the file names",
        ),
        pytest.param(
            {
                **nic(master=on("ovs-system")),
                **net(NETWORK.format("vmbr0")),
                "/etc/network/interfaces": "iface bond0 inet manual\n\tovs_bridge vmbr0\n\tovs_bonds eno1 eno2\n",
            },
            ["is a port of the Open vSwitch bridge vmbr0 (192.0.2.10/24)"],
            id="OVS bond",
        ),
        pytest.param({**nic(upper_mac0=on("mac0")), **net()}, ["carries mac0"], id="something in a container"),
        pytest.param(
            {**nic(master=on("a")), **upper("a", "team", on=("b",)), **upper("b", "bridge", on=("a", "b")), **net()},
            ["is a port of a, which carries b, a"],
            id="a circle",
        ),
    ],
)
def test_what_stands_on_it(tmp_path: Path, files: dict[str, Content], expected: list[str]) -> None:
    assert sentences(tmp_path, files) == expected


COROSYNC = """\
logging { debug: off }
nodelist {
  node {
    name: pve2
    ring0_addr: 192.0.2.77
  }
  node {
    name: pve1
    nodeid: 1
    quorum_votes: 1
    ring0_addr: RING
    ring1_addr: 203.0.113.9
  }
}
"""


@pytest.mark.parametrize(
    ("ring", "carried"),
    [
        pytest.param("192.0.2.10", True, id="address"),
        pytest.param("pve1-ring", True, id="name in /etc/hosts"),
        pytest.param("fd00:0:0:1:0::5", True, id="IPv6"),
        pytest.param("198.51.100.1", False, id="another network"),
        pytest.param("pve1-unknown", False, id="unknown name"),
        pytest.param("fd00::5", False, id="another IPv6 address"),
    ],
)
@pytest.mark.parametrize("path", ["/etc/pve/corosync.conf", "/etc/corosync/corosync.conf"])
def test_corosync(tmp_path: Path, path: str, ring: str, carried: bool) -> None:
    files = {**nic(), **net(NETWORK.format("eno1"), INET6.format("eno1")), path: COROSYNC.replace("RING", ring)}
    files["/etc/hosts"] = "127.0.0.1 localhost\n192.0.2.10 pve1.example pve1-ring # of corosync\n"
    links = [sentence for sentence in sentences(tmp_path, files) if "corosync" in sentence]
    assert links == (["carries corosync link 0 (eno1)"] if carried else [])


# -- what it is named as ----------------------------------------------------------------------------------------------

FILE = "/etc/network/interfaces"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("iface eno1 inet manual\n", [], id="manual"),
        pytest.param("auto eno1\niface eno1 inet manual\n  mtu 9000\n", [], id="brought up, manual"),
        pytest.param(
            "auto vmbr1\niface vmbr1 inet manual\n\tbridge-ports eno1\n", [f"is named as a port of vmbr1 in {FILE} (eno1)"], id="bridge"
        ),
        pytest.param(
            "iface vmbr1 inet manual\n\tbridge_ports \\\n\t eno2 eno1.5\n", [f"is named as a port of vmbr1 in {FILE} (eno1)"], id="tag"
        ),
        pytest.param(
            "iface vmbr1 inet manual\n\tbridge-ports regex eno[0-9]\n", [f"is named as a port of vmbr1 in {FILE} (eno1)"], id="regex"
        ),
        pytest.param("iface vmbr1 inet manual\n\tbridge-ports glob eno1-4\n", [f"is named as a port of vmbr1 in {FILE} (eno1)"], id="glob"),
        pytest.param("iface vmbr1 inet manual\n\tbridge-ports regex eno[ glob eno2-4\n", [], id="patterns of others"),
        pytest.param("iface vmbr1 inet manual\n\tbridge-ports none\n", [], id="no ports"),
        pytest.param("iface vmbr1 inet manual\n#\tbridge-ports eno1\n\tbridge-ports eno10 eno1a eno1.x\n", [], id="others, and a comment"),
        pytest.param("iface bond0 inet manual\n  bond-slaves eno2 eno1\n", [f"is named as a slave of bond0 in {FILE} (eno1)"], id="bond"),
        pytest.param("iface bond0 inet manual\n  slaves eno1\n", [f"is named as a slave of bond0 in {FILE} (eno1)"], id="bond, old"),
        pytest.param("iface bond0 inet manual\n  ovs_bonds eno1 eno2\n", [f"is named as a slave of bond0 in {FILE} (eno1)"], id="OVS bond"),
        pytest.param("iface vmbr0 inet manual\n  ovs_ports eno1\n", [f"is named as a port of vmbr0 in {FILE} (eno1)"], id="OVS ports"),
        pytest.param("iface eno1 inet manual\n  ovs_bridge vmbr0\n", [f"is named as a port of vmbr0 in {FILE} (eno1)"], id="OVS port"),
        pytest.param("iface v5 inet manual\n  vlan-raw-device eno1\n", [f"is named as the device below v5 in {FILE} (eno1)"], id="VLAN"),
        pytest.param("iface eno1.5 inet manual\n", [f"is named as the device below the VLAN eno1.5 in {FILE} (eno1)"], id="VLAN by name"),
        pytest.param("auto eno1\niface eno1 inet static\n", [f"is given an address in {FILE} (eno1, static)"], id="static"),
        pytest.param("allow-hotplug eno1\niface eno1 inet dhcp\n", [f"is given an address in {FILE} (eno1, dhcp)"], id="dhcp"),
        pytest.param(
            "auto lo eno1\niface eno1\n\taddress 10.0.0.1/24\n", [f"is given an address in {FILE} (eno1, static)"], id="ifupdown2"
        ),
        pytest.param("iface eno1 inet dhcp\nauto eno10\niface eno10 inet dhcp\n", [], id="not brought up"),
        pytest.param("\taddress 10.0.0.1\niface\nauto\nsource\nbridge-ports eno1\n\x00\xff\n", [], id="nonsense"),
    ],
)
def test_named_in_the_file(tmp_path: Path, text: str, expected: list[str]) -> None:
    assert sentences(tmp_path, {**nic(), **net(), FILE: text}) == expected


@pytest.mark.parametrize(
    ("line", "path", "read"),
    [
        pytest.param("source /etc/network/interfaces.d/*", "/etc/network/interfaces.d/sdn", True, id="glob"),
        pytest.param("source interfaces.d/*.cfg", "/etc/network/interfaces.d/a.cfg", True, id="relative"),
        pytest.param("source /etc/n?twork/*/[ab]", "/etc/network/more/b", True, id="in a directory that is a pattern"),
        pytest.param("source-directory interfaces.d", "/etc/network/interfaces.d/sdn", True, id="directory"),
        pytest.param("source /etc/network/interfaces.d/*.cfg", "/etc/network/interfaces.d/sdn", False, id="not in the pattern"),
        pytest.param("source-directory interfaces.d", "/etc/network/interfaces.d/sdn~", False, id="left over by an editor"),
        pytest.param("# source interfaces.d/*", "/etc/network/interfaces.d/sdn", False, id="a comment"),
    ],
)
def test_sourced_files(tmp_path: Path, line: str, path: str, read: bool) -> None:
    files = {**nic(), **net(), FILE: f"{line}\nsource /etc/network/interfaces\n", path: "iface vmbr9 inet manual\n bridge-ports eno1\n"}
    assert sentences(tmp_path, files) == ([f"is named as a port of vmbr9 in {path} (eno1)"] if read else [])


@pytest.mark.parametrize(
    ("database", "expected"),
    [
        pytest.param(
            "E:ID_NET_NAME_ONBOARD=eno1\nE:ID_NET_NAME_PATH=enp3s0\n", [f"is named as a port of vmbr1 in {FILE} (enp3s0)"], id="its own"
        ),
        pytest.param("E:ID_NET_NAME_PATH=enp4s0\nE:ID_PATH=enp3s0\n", [], id="another's"),
    ],
)
def test_alternative_names(tmp_path: Path, database: str, expected: list[str]) -> None:
    """PVE 9 takes them in the file; sysfs has none, udev's database what they are made from."""
    files = {**nic(ifindex="4\n"), **net(), FILE: "iface vmbr1 inet manual\n bridge-ports enp3s0\n", "/run/udev/data/n4": database}
    assert sentences(tmp_path, files) == expected


# -- where the NIC is -------------------------------------------------------------------------------------------------


def test_a_nic_deeper_below_the_device(tmp_path: Path) -> None:
    """At a USB controller, or of virtio."""
    place = "pci0000:00/0000:00:14.0/usb1/1-2/1-2:1.0/net/enx0011"
    files = {
        **net(NETWORK.format("enx0011")),
        f"{BUS}/0000:00:14.0": Link("../../../devices/pci0000:00/0000:00:14.0"),
        f"/sys/devices/{place}/flags": UP,
        "/sys/devices/pci0000:00/0000:00:14.0/class": "0x0c0330\n",
        "/sys/class/net/enx0011": Link(f"../../devices/{place}"),
    }
    assert [use.sentence for use in looked(tmp_path, files, "0000:00:14.0").found] == ["has the address 192.0.2.10/24 (enx0011)"]


def test_a_nic_on_vfio_is_not_looked_at(tmp_path: Path) -> None:
    files = {**nic(), **net(NETWORK.format("eno1"))}
    files["/sys/devices/pci0000:00/0000:00:1c.0/0000:03:00.0/driver"] = Link("../../../../bus/pci/drivers/vfio-pci")
    assert looked(tmp_path, files) == Uses()


def moved(**lxc: str) -> dict[str, Content]:
    place = f"/sys/devices/pci0000:00/{NIC}"
    return {
        f"{BUS}/{NIC}": Link(f"../../../devices/pci0000:00/{NIC}"),
        f"{place}/driver": Link("../../../bus/pci/drivers/igb"),
        f"{place}/net": None,
        "/sys/class/net": None,
        **{f"/etc/pve/nodes/{NODE}/lxc/{name[2:]}.conf": text for name, text in lxc.items()},
        "/proc/net/unix": "0000: 00000002 00000000 00010000 0001 01 4711 @/var/lib/lxc/105/command\n",
    }


def test_a_nic_in_another_namespace(tmp_path: Path) -> None:
    assert [use.sentence for use in looked(tmp_path, moved()).found] == [
        "has its network interface in another network namespace (a container's)"
    ]


def test_a_nic_in_a_container(tmp_path: Path) -> None:
    phys = "hostname: fw\nlxc.net.0.type: veth\nlxc.net.0.link: gone\nlxc.net.1.type: phys\nlxc.net.1.link: eno1\n"
    (use,) = looked(tmp_path, moved(ct105=phys, ct106=phys)).found
    assert (use.sentence, use.vmid) == ("has its network interface in the running CT 105 (fw) (eno1)", 105)


def test_a_device_without_nic(tmp_path: Path) -> None:
    files = moved()
    del files[f"/sys/devices/pci0000:00/{NIC}/net"]
    assert looked(tmp_path, files) == Uses()


# -- what cannot be read ----------------------------------------------------------------------------------------------


def test_no_routes_to_read(tmp_path: Path) -> None:
    assert looked(tmp_path, nic()).unread == ("its addresses and routes (/proc/net/route is not there)",)


@pytest.mark.parametrize(
    ("path", "files", "word"),
    [
        pytest.param("/proc/net/if_inet6", {}, "its addresses and routes", id="IPv6 addresses"),
        pytest.param(FILE, {}, f"what {FILE} names", id="the file"),
        pytest.param("/etc/corosync/corosync.conf", net(BEYOND.format("eno1")), "corosync", id="corosync's"),
    ],
)
def test_what_is_no_file(tmp_path: Path, path: str, files: dict[str, Content], word: str) -> None:
    tree = {**nic(), **net(), **files}
    tree[path] = None
    (why,) = looked(tmp_path, tree).unread
    assert word in why and "directory" in why


# -- virtual functions ------------------------------------------------------------------------------------------------

VF = "0000:03:10.0"


def with_vf(driver: str, cmdline: str = "", pid: str = "4711\n") -> dict[str, Content]:
    place = f"/sys/devices/pci0000:00/0000:00:1c.0/{VF}"
    files = {
        **nic("eno1v0", VF),
        **nic(),
        f"/sys/devices/pci0000:00/0000:00:1c.0/{NIC}/virtfn0": Link(f"../{VF}"),
        f"{place}/driver": Link(f"../../../../bus/pci/drivers/{driver}"),
        f"{place}/physfn": Link(f"../{NIC}"),
        "/run/qemu-server/101.pid": pid,
        "/proc/4711/cmdline": f"/usr/bin/kvm\0-id\x00101\0-device\0{cmdline}\0",
        f"/etc/pve/nodes/{NODE}/qemu-server/101.conf": "name: web\n",
        **net(),
    }
    if driver == "vfio-pci":
        del files["/sys/class/net/eno1v0"], files[f"{place}/net/eno1v0/flags"]
    return files


def virtual(directory: Path, files: dict[str, Content]) -> list[tuple[str, int]]:
    host = Host(str(make_fake_tree(directory, files)))
    network = NetworkUses(host, NODE, Containers(host, NODE))
    uses = VirtualFunctions(RunningGuests(host, NODE), network.of).of(devices(host)[NIC])
    assert uses.unread == ()
    return [(use.sentence, use.vmid) for use in uses.found]


HELD = f"vfio-pci,host={VF},id=hostpci0,bus=pci.0"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param(with_vf("vfio-pci", HELD), [(f"has VFs in use: {VF} by VM 101 (web)", 101)], id="held by a guest"),
        pytest.param(with_vf("vfio-pci", HELD, "4712\n"), [], id="held by one that does not run"),
        pytest.param(with_vf("vfio-pci", HELD.replace("10.0", "10.1")), [], id="another VF is held"),
        pytest.param(with_vf("igbvf"), [], id="idle"),
        pytest.param(
            {**with_vf("igbvf"), "/proc/net/route": ROUTES + NETWORK.format("eno1v0")},
            [(f"has VFs in use: {VF} has the address 192.0.2.10/24 (eno1v0)", 0)],
            id="used by the host",
        ),
    ],
)
def test_vfs_of_a_physical_function(tmp_path: Path, files: dict[str, Content], expected: list[tuple[str, int]]) -> None:
    assert virtual(tmp_path, files) == expected


def test_vfs_when_no_guest_can_be_seen(tmp_path: Path) -> None:
    files = {path: content for path, content in with_vf("igbvf").items() if not path.startswith("/run")}
    host = Host(str(make_fake_tree(tmp_path, {**files, "/run/qemu-server": "a file"})))
    (why,) = VirtualFunctions(RunningGuests(host, NODE), lambda _: Uses()).of(devices(host)[NIC]).unread
    assert why.startswith("which VMs have its virtual functions")


# -- captures of real kernels -----------------------------------------------------------------------------------------


@pytest.mark.shared_data
@pytest.mark.parametrize("name", captures.NAMES)
def test_captures(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Nobody uses their NICs; none seems to be in another namespace."""
    host = Host(str(captures.materialise(name, tmp_path_factory)))
    network = NetworkUses(host, NODE, Containers(host, NODE))
    found = {address: network.of(device) for address, device in devices(host).items()}
    assert {address: uses.found for address, uses in found.items() if uses.found} == {}
    captured = captures.load(name)["pci"]
    nics = {address for address in found if captured[address]["children"].get("net")}
    assert {address for address, uses in found.items() if uses.unread} >= nics != set()


@pytest.mark.parametrize("kind", ["macvlan", "ipvlan", "vlan"])
def test_a_card_that_carries_the_network_of_a_container(tmp_path: Path, kind: str) -> None:
    """The interface itself lies in the container's namespace; the host's card shows nothing of it."""
    given = f"hostname: fw\nlxc.net.0.type: {kind}\nlxc.net.0.link: eno1\n"
    files = {path: text for path, text in moved(ct105=given, ct106=given).items() if not path.endswith("/net")}
    (use,) = looked(tmp_path, {**files, **nic(), **net()}).found
    assert (use.sentence, use.vmid) == ("carries the network of the running CT 105 (fw) (eno1)", 105)
