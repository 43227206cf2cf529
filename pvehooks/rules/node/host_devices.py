"""The node's devices and interfaces, as passthrough sees them."""

from __future__ import annotations

from collections.abc import Iterator

from pvehooks.derived.candidates import working
from pvehooks.derived.passthrough import pci_devices
from pvehooks.rules.engine import RuleSet, not_examined
from pvehooks.values import Finding, Node, Severity, Unread
from pvehooks.values.boot import NewName

RULES = RuleSet(order=50)
_STORAGE, _NETWORK = 0x01, 0x02


@RULES.rule(
    "group-shared",
    Severity.INFO,
    "Try another slot, or ACS in the firmware setup; pcie_acs_override only if you trust the VMs",
    needs=("iommu", "pci"),
    line="IOMMU groups",
)
def group_shared(node: Node) -> Iterator[Finding]:
    """Several useful devices share an IOMMU group: they can only be passed through together.

    The board, the slot and the CPU decide which devices share a group: no software changes it. pcie_acs_override
    only pretends that they are isolated.
    Source: the kernel's Documentation/driver-api/vfio.rst; the administrator's manual, "PCI(e) Passthrough".
    """
    if isinstance(node.iommu, Unread) or not node.iommu.active:
        return
    devices = pci_devices(node)
    done: set[str] = set()
    for device in devices.values():
        if device.group in done or not working(device) or device.physfn:
            continue
        done.add(device.group)
        members = [devices[address] for address in device.members if address in devices]
        slots = dict.fromkeys(member.slot for member in members if working(member))
        if len(slots) > 1:
            labels = [member.label for member in members if working(member)]
            more = f" and {len(labels) - 3} more" if len(labels) > 3 else ""
            yield Finding(
                f"group {device.group}",
                f"IOMMU group {device.group} is shared: {', '.join(labels[:3])}{more} can only be passed through together",
            )


@RULES.all_well("IOMMU groups")
def _groups(node: Node) -> str:
    return "every useful device has an IOMMU group of its own" if not isinstance(node.iommu, Unread) and node.iommu.active else ""


@RULES.rule(
    "pcie-link-narrow",
    Severity.INFO,
    "Put the card into a slot with more lanes or a higher speed, or reseat it",
    needs=("links", "pci"),
    line="PCIe links",
)
def pcie_link_narrow(node: Node) -> Iterator[Finding]:
    """A PCIe device runs with fewer lanes, or a network card or disk at a lower speed, than it could: throughput suffers.

    Graphics cards lower their speed when idle, so for them only the width is looked at.
    Source: the kernel's ABI/testing/sysfs-bus-pci (current_link_speed, current_link_width).
    """
    if isinstance(node.links, Unread):
        return
    for address, device in pci_devices(node).items():
        link = node.links.get(address)
        # The functions of a card share its link: one line is enough.
        first = f"{device.slot}.0"
        if link is None or not working(device) or device.physfn or (address != first and node.links.get(first) == link):
            continue
        slow = link.speed < link.max_speed and device.class_code >> 16 in (_STORAGE, _NETWORK)
        if link.width < link.max_width or slow:
            yield Finding(address, f"{device.label} runs with {link.now} and could run with {link.could}")


@RULES.all_well("PCIe links")
def _links(node: Node) -> str:
    return f"{len(node.links)} links run at full speed and width" if not isinstance(node.links, Unread) and node.links else ""


@RULES.rule(
    "interface-missing",
    Severity.WARNING,
    "Give the card its former name by its MAC in a .link file in /etc/systemd/network, or write the new name into the configuration",
    needs=("interfaces",),
    line="network",
)
def interface_missing(node: Node) -> Iterator[Finding]:
    """The network configuration names an interface that does not exist: the bridge or bond works without it, or not at all.

    Names come from the slot, and change when a card is added or removed, or with a new kernel or systemd. A card that was passed through
    to a VM has no name on the host. ip -br link shows the MACs. Where one name is missing and one card is not in the configuration,
    `pvehooks host fix interface-missing` gives that card the name. pve-network-interface-pinning generate keeps names from changing.
    Source: the administrator's manual, "Naming Conventions", "Overriding network device names".
    """
    if isinstance(node.interfaces, Unread):
        yield not_examined("network", f"whether all configured interfaces exist is unknown: {node.interfaces.why}")
        return
    for absent in node.interfaces.absent:
        unnamed = node.interfaces.unnamed
        message = f"{absent.file} names {absent.name} as {absent.role} {absent.upper}, but there is no {absent.name}"
        link = f"/etc/systemd/network/10-{absent.name}.link"
        remedy = (
            f"See which card it is: ip -br link. Give it this name by its MAC in {link} ([Match] MACAddress=MAC, Type=ether, [Link] Name={absent.name}),"
            f" then: update-initramfs -u -k all && reboot; or write its new name into {absent.file}, then: ifreload -a"
        )
        if len(unnamed) == 1:
            name, mac, address = unnamed[0]
            where = f" (PCI {address}, {mac})" if address else f" ({mac})"
            message += f"; {name}{where} is not in that configuration and may be the same card"
            remedy = (
                f"If it is, give it this name by its MAC in {link} ([Match] MACAddress={mac}, Type=ether, [Link] Name={absent.name}),"
                f" then: update-initramfs -u -k all && reboot; or write {name} into {absent.file}, then: ifreload -a"
            )
        elif unnamed:
            message += f"; {', '.join(name for name, _, _ in unnamed[:4])} are not in that configuration"
        yield Finding(absent.name, message, remedy)


@RULES.rule(
    "interface-renamed-at-boot",
    Severity.WARNING,
    "Keep its name by its MAC in a .link file in /etc/systemd/network, or write the new name into the configuration",
    needs=("new_names",),
    line="network",
    at_boot=True,
)
def interface_renamed_at_boot(node: Node) -> Iterator[Finding]:
    """A card that the network configuration names has another name after the next boot: the bridge or bond comes up without it.

    .link files, the kernel's arguments net.ifnames and net.naming-scheme, and drivers that show the port of a card decide the name: i40e since
    kernel 6.7, so that another name comes with an older kernel, too. The names that a card has beside its own (altname) count as well. A
    configuration that waits in /etc/network/interfaces.new, which Proxmox VE puts in force at boot, is looked at in place of the present one.
    Source: systemd.link(5), systemd.net-naming-scheme(7); the administrator's manual, "Naming Conventions".
    """
    for card in () if isinstance(node.new_names, Unread) else node.new_names:
        if card.certain:
            called = f"is called {card.new}" if card.new else "has another name"
            message = f"{card.name} {card.role}, and {called} after the next boot: {card.why}"
            keep = _keep_name(card)
            remedy = f"Write {card.new} there in place of {card.name}; or k{keep[1:]}" if card.new else keep
            yield Finding(card.name, message, remedy)


@RULES.rule(
    "interface-not-pinned",
    Severity.INFO,
    "Keep its name by its MAC in a .link file in /etc/systemd/network",
    needs=("new_names",),
    line="network",
    at_boot=True,
)
def interface_not_pinned(node: Node) -> Iterator[Finding]:
    """The next boot takes a kernel of another series or another naming scheme, and nothing keeps the name of a card of the network configuration.

    New drivers may name cards in another way, and a bridge loses a port that has another name. The naming scheme is udev's: that of Debian 13 takes the
    slot's number from the firmware, that of Debian 12 took it from the bridge above, too. On Proxmox VE 9
    pve-network-interface-pinning generate keeps the names of all cards.
    Source: the administrator's manual, "Pinning a specific naming scheme version", "Overriding network device names".
    """
    maybe = [] if isinstance(node.new_names, Unread) else [card for card in node.new_names if not card.certain]
    # Those first of whose driver that is not known.
    maybe.sort(key=lambda card: card.alike != "")
    for card in maybe[:1]:
        more = f", and so do {', '.join(each.name for each in maybe[1:])}" if len(maybe) > 1 else ""
        message = f"{card.name} {card.role}{more}, and the name may change at the next boot: {card.why}"
        if card.alike:
            drivers = " and ".join(sorted({each.alike for each in maybe}))
            message += f" (by {drivers} a card is named alike in both, so only another number of its bus or slot would change it)"
        yield Finding(card.name, message, _keep_name(card))


def _keep_name(card: NewName) -> str:
    """How a card keeps its name."""
    link = f"/etc/systemd/network/10-{card.name}.link"
    return f"Keep the name by its MAC in {link} ([Match] MACAddress={card.mac or 'MAC'}, Type=ether, [Link] Name={card.name}), then: update-initramfs -u -k all"


@RULES.all_well("network")
def _network(node: Node) -> str:
    return "" if isinstance(node.interfaces, Unread) else "every interface of the network configuration exists"
