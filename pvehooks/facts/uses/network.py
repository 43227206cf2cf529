"""NICs that the node uses: their addresses, routes and corosync links, and what bridges, bonds, VLANs and others stand on them."""

from __future__ import annotations

from collections.abc import Iterator

from pvehooks.facts.cluster import corosync
from pvehooks.facts.node.networkconfig import NetworkConfig
from pvehooks.facts.reading import names_in, text_of
from pvehooks.facts.uses.addresses import Addresses
from pvehooks.facts.uses.containers import Containers
from pvehooks.host import Host
from pvehooks.values import PciDevice, Use, Uses
from pvehooks.values.pci import last_pci_address

_DEVICES = "/sys/bus/pci/devices"
_CLASS = "/sys/class/net"
_UP = 0x1
_PROMISCUOUS = 0x100
# ETH_P_ALL, as /proc/net/packet shows it (the kernel's net/packet/af_packet.c).
_EVERYTHING = "0003"
_NETCONSOLE = "/sys/kernel/config/netconsole"
# The device to which the kernel's Open vSwitch ties all ports; it is never up (net/openvswitch/vport-netdev.c).
_OVS = "ovs-system"
_ROLES = {
    "bridge": "is the uplink of",
    "bond": "is a slave of",
    "team": "is a port of",
    "vrf": "is a port of the VRF",
    "vlan": "carries the VLAN",
    "macvlan": "carries the macvlan",
}


class NetworkUses:
    """The uses of NICs, wherever below a PCI device they are (USB, Thunderbolt and virtio have them deeper)."""

    def __init__(self, host: Host, node: str, containers: Containers) -> None:
        self.host = host
        self.node = node
        self.containers = containers
        self.interfaces = NetworkConfig(host, node)
        self._by_device: dict[str, list[str]] | None = None
        self._paths: dict[str, str] = {}
        self._addresses: Addresses | None = None
        self._corosync_links: tuple[tuple[int, str], ...] | None = None
        self._pppoe: frozenset[str] | None = None
        self._corosync_unread: tuple[str, ...] = ()

    def of(self, device: PciDevice) -> Uses:
        """The uses of the device's NICs; a device that vfio has got has none."""
        if device.vfio:
            return Uses()
        nics = self._nics(device)
        found: dict[str, Use] = {}
        for name in nics:
            uses = [*self._live(name)] or [*self._named(name)]
            found.update((sentence, Use(sentence)) for sentence in uses)
        for container in self.containers.all() if nics else ():
            for name in set(nics).intersection(container.nics):
                use = Use(f"carries the network of the running {container.label} ({name})", container.vmid)
                found.setdefault(use.sentence, use)
        found.update((use.sentence, use) for use in self._moved(device, nics))
        return Uses(tuple(found.values()), self._unread() if nics else ())

    def _unread(self) -> tuple[str, ...]:
        addresses = self._addresses.unread if self._addresses else ()
        return (*addresses, *self._corosync_unread, *self.interfaces.unread)

    # -- which NICs there are -----------------------------------------------------------------------------------------

    def _nics(self, device: PciDevice) -> list[str]:
        if self._by_device is None:
            self._by_device = {}
            for name, target in self._link_texts(_CLASS).items():
                self._by_device.setdefault(last_pci_address(target), []).append(name)
        found = set(self._by_device.get(device.address, ()))
        own = f"{_DEVICES}/{device.address}/net"
        for name in names_in(self.host, own):
            if name not in found and self.host.is_dir(f"{own}/{name}"):
                found.add(name)
                self._paths[name] = f"{own}/{name}"
        return sorted(found)

    def _path(self, name: str) -> str:
        return self._paths.get(name, f"{_CLASS}/{name}")

    def _moved(self, device: PciDevice, nics: list[str]) -> Iterator[Use]:
        """A NIC in another network namespace: sysfs shows its directory `net`, and nothing in it."""
        own = f"{_DEVICES}/{device.address}"
        if nics or not device.driver or not self.host.is_dir(f"{own}/net") or names_in(self.host, f"{own}/net"):
            return
        there = names_in(self.host, _CLASS)
        takers = [container for container in self.containers.all() if any(nic not in there for nic in container.nics)]
        if not takers:
            yield Use("has its network interface in another network namespace (a container's)")
        for container in takers:
            name = next(nic for nic in container.nics if nic not in there)
            yield Use(f"has its network interface in the running {container.label} ({name})", container.vmid)

    # -- what they do now ---------------------------------------------------------------------------------------------

    def _live(self, name: str) -> Iterator[str]:
        chains = [(upper, self._above(upper, {name})) for upper in self._uppers(name) if self._is_up(upper)]
        for upper, above in chains:
            yield self._role(name, upper, above)
        addresses = self._known_addresses()
        texts = addresses.texts(name)
        if texts:
            yield f"has the address{'es' if len(texts) > 1 else ''} {', '.join(texts)} ({name})"
        elif addresses.ways(name):
            yield f"carries the route to {', '.join(addresses.ways(name)[:3])} ({name})"
        bridge = self._ovs_bridge(name) if any(upper == _OVS for upper, _ in chains) else ""
        for each in dict.fromkeys((name, *(u for upper, above in chains for u in (upper, *above)), bridge)):
            if each:
                yield from self._carries(each, addresses)
        if self._is_captured(name):
            yield f"is captured from by a process, in promiscuous mode ({name})"
        if name in self._netconsoles():
            yield f"sends the kernel's log to another machine, by netconsole ({name})"

    def _carries(self, name: str, addresses: Addresses) -> Iterator[str]:
        """What the node would lose with an interface, be it the NIC or what stands on it."""
        if name in addresses.default:
            yield f"carries the default route ({name})"
        for number, address in self._corosync() if addresses.texts(name) or addresses.ways(name) else ():
            if addresses.reached(name, address):
                yield f"carries corosync link {number} ({name})"
        if name in self._pppoe_devices():
            yield f"carries a PPPoE connection ({name})"

    def _is_captured(self, name: str) -> bool:
        """Whether a packet socket gets all packets of the card, which is up and promiscuous: lldpd and DHCP clients are not."""
        try:
            flags = int(text_of(self.host, f"{self._path(name)}/flags"), 16)
        except ValueError:
            return False
        index = text_of(self.host, f"{self._path(name)}/ifindex")
        if not flags & _UP or not flags & _PROMISCUOUS or not index:
            return False
        rows = (line.split() for line in text_of(self.host, "/proc/net/packet").split("\n"))
        return any(len(row) > 4 and row[3] == _EVERYTHING and row[4] == index for row in rows)

    def _netconsoles(self) -> frozenset[str]:
        """The cards of netconsole's targets that are switched on (the kernel's networking/netconsole.rst)."""
        targets = [f"{_NETCONSOLE}/{name}" for name in names_in(self.host, _NETCONSOLE)]
        return frozenset(text_of(self.host, f"{path}/dev_name") for path in targets if text_of(self.host, f"{path}/enabled") == "1")

    def _role(self, name: str, upper: str, above: list[str]) -> str:
        if upper == _OVS:
            bridge = self._ovs_bridge(name)
            return f"is a port of the Open vSwitch bridge {self._described(bridge)}" if bridge else "is a port of an Open vSwitch bridge"
        role = _ROLES.get(self._kind(upper), "carries")
        more = f", which carries {', '.join(map(self._described, above))}" if above else ""
        return f"{role} {self._described(upper)}{more}"

    def _ovs_bridge(self, name: str) -> str:
        """Only the configuration says which bridge of Open vSwitch a port belongs to."""
        return self.interfaces.ovs_bridge(name)

    def _described(self, name: str) -> str:
        if name == _OVS:
            return "an Open vSwitch bridge"
        texts = self._known_addresses().texts(name)
        return f"{name} ({', '.join(texts)})" if texts else name

    def _above(self, name: str, seen: set[str]) -> list[str]:
        """All that is up and stands on an interface."""
        found: list[str] = []
        for upper in self._uppers(name):
            if upper not in seen and self._is_up(upper):
                seen.add(upper)
                found += [upper, *self._above(upper, seen)]
        return found

    def _uppers(self, name: str) -> list[str]:
        """Its master and what else stands on it (the kernel's ABI/testing/sysfs-class-net)."""
        path = self._path(name)
        names = names_in(self.host, path)
        found = [entry[6:] for entry in names if entry.startswith("upper_")]
        for entry in [link for link in ("master", "brport/bridge") if link.partition("/")[0] in names]:
            try:
                found.append(self.host.link_name(f"{path}/{entry}"))
            except OSError:
                continue
        return [each for each in found if each != name]

    def _is_up(self, name: str) -> bool:
        """Whether an interface is up; one that cannot be seen is in a container, which would not hold it for nothing."""
        if name == _OVS:
            return True
        try:
            return bool(int(self.host.read_text(f"{_CLASS}/{name}/flags"), 16) & _UP)
        except ValueError:
            return True
        except OSError:
            return text_of(self.host, f"{_CLASS}/{name}/operstate") != "down"

    def _kind(self, name: str) -> str:
        for line in text_of(self.host, f"{_CLASS}/{name}/uevent").split("\n"):
            if line.startswith("DEVTYPE="):
                return line[8:]
        names = names_in(self.host, f"{_CLASS}/{name}")
        if "bridge" in names:
            return "bridge"
        if "bonding" in names:
            return "bond"
        return "vlan" if name.rpartition(".")[2].isdecimal() and "." in name else ""

    # -- what the configuration means to do with them -----------------------------------------------------------------

    def _named(self, name: str) -> Iterator[str]:
        return self.interfaces.sentences(self._all_names(name))

    def _all_names(self, name: str) -> tuple[str, ...]:
        """With the alternative names that systemd gives (systemd.link(5)): udev's database has what they are made from."""
        index = text_of(self.host, f"{self._path(name)}/ifindex")
        lines = text_of(self.host, f"/run/udev/data/n{index}").split("\n") if index.isdecimal() else []
        return (name, *(line.partition("=")[2] for line in lines if line.startswith(("E:ID_NET_NAME_", "E:ID_NET_NAME="))))

    # -- facts that all NICs share ------------------------------------------------------------------------------------

    def _known_addresses(self) -> Addresses:
        if self._addresses is None:
            self._addresses = Addresses(self.host)
        return self._addresses

    def _corosync(self) -> tuple[tuple[int, str], ...]:
        if self._corosync_links is None:
            self._corosync_links, self._corosync_unread = corosync.links(self.host, self.node)
        return self._corosync_links

    def _pppoe_devices(self) -> frozenset[str]:
        """The devices of PPPoE sessions (the kernel's drivers/net/ppp/pppoe.c): they need no address."""
        if self._pppoe is None:
            lines = text_of(self.host, "/proc/net/pppoe").split("\n")[1:]
            self._pppoe = frozenset(line.split()[-1] for line in lines if line.split())
        return self._pppoe

    # -- reading ------------------------------------------------------------------------------------------------------

    def _link_texts(self, path: str) -> dict[str, str]:
        try:
            return self.host.link_texts(path)
        except OSError:
            return {}
