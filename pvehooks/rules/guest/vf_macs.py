"""The MACs of virtual functions of a VM: has each one, and is it the one that the VM's network is set up for?"""

from __future__ import annotations

import re
from collections.abc import Iterator

from pvehooks import derived
from pvehooks.derived.passthrough import claims, passes_through, pci_devices
from pvehooks.rules.engine import RuleSet, not_examined
from pvehooks.values import Finding, Guest, NamedTuple, Node, PciDevice, Severity, Unread
from pvehooks.values.pci import VfMacs, VfNote
from pvehooks.values.stubs import is_stub

RULES = RuleSet(applies_to=passes_through, order=96)
_NETWORK = 0x02
_NONE = "00:00:00:00:00:00"
# Drivers of PFs that show zeros for a VF that was given no MAC; the VF's driver makes one up then
# (drivers/net/ethernet: igbvf, ixgbevf, iavf, mlx5/core/en_main.c, bnxt: eth_hw_addr_random()).
_MADE_UP = frozenset(("bnxt_en", "i40e", "ice", "igb", "ixgbe", "mlx5_core"))
_MAC = r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}"
# Network data of cloud-init: mac_address in version 1, macaddress in version 2.
_IN_NETWORK_DATA = re.compile(rf"""mac_?address["']?\s*:\s*["']?({_MAC})(?![0-9a-f:])""", re.IGNORECASE)
_CLOUD_INIT = re.compile(r"[:/](?:vm-[0-9]+-)?cloudinit(?:\.\w+)?", re.ASCII)


class _Vf(NamedTuple):
    """A VF of a network card that a guest would get, whatever others have."""

    option: str
    device: PciDevice
    pf: PciDevice
    number: int
    macs: VfMacs

    @property
    def noted(self) -> str:
        """Its MAC from each start on, '' where none is noted."""
        note = self.macs.noted.get(self.number)
        return note.mac if note else ""

    @property
    def shown(self) -> str:
        """The MAC that the card has for it, '' where that is not shown."""
        return "" if isinstance(self.macs.shown, Unread) else self.macs.shown.get(self.number, "")

    @property
    def words(self) -> str:
        """How messages call it."""
        return f"virtual function {self.number} of {self.pf.label}, {self.device.address},"

    def noting(self, mac: str = "") -> str:
        """The command that notes this MAC for it, or one that stays the same; what is noted already is kept."""
        notes = dict(self.macs.noted)
        if mac:
            notes[self.number] = notes.get(self.number, VfNote("", ""))._replace(mac=mac)
        words = [f"pvehooks bind {self.pf.address} --vfs {max(self.macs.vfs, len(self.pf.virtfns))}"]
        for number, note in sorted(notes.items()):
            words.append(f"--vf {number}:{','.join(filter(None, (note.mac and f'mac={note.mac}', note.rest)))}")
        return f"{' '.join(words)} --persist"


def _vfs(guest: Guest, node: Node) -> Iterator[_Vf]:
    """Those of its network VFs that it gets for certain: of a mapping's alternatives, others may have one."""
    if isinstance(node.vf_support, Unread):
        return
    known: dict[str, VfMacs] = {}
    for claim in claims(guest, node):
        for device in claim.devices:
            pf = pci_devices(node).get(device.physfn)
            if pf is None or device.class_code >> 16 != _NETWORK or isinstance(claim.entry.choices, Unread) or len(claim.entry.choices) > 1:
                continue
            if pf.address not in known:
                known[pf.address] = node.vf_support.macs(pf.address)
            yield _Vf(claim.entry.option, device, pf, pf.virtfns.index(device.address), known[pf.address])


@RULES.rule(
    "vf-mac-unset",
    Severity.WARNING,
    "Give it one that stays: pvehooks bind ADDRESS --vfs N --persist",
    needs=("holders", "pci", "vf_support"),
)
def vf_mac_unset(guest: Guest, node: Node) -> Iterator[Finding]:
    """A virtual function (VF) of a network card has no MAC, so the VM makes up another at each start.

    Its DHCP server then sees another machine each time, and what was set up in the VM by the MAC (names, cloud-init, a licence) does not
    match. `pvehooks bind --vfs --persist` derives a MAC from the card's own, the same at every boot. Only root sees what the card has: the
    daemon does not report this.
    Source: the kernel's drivers/net/ethernet (igbvf, ixgbevf, iavf, mlx5, bnxt: eth_hw_addr_random); ip-link(8).
    """
    for vf in _vfs(guest, node):
        if vf.shown == _NONE and not vf.noted and vf.pf.driver in _MADE_UP:
            message = (
                f"{vf.option}: {vf.words} has no MAC: the VM makes up another at each start, and its address by DHCP may change with it"
            )
            yield Finding(vf.device.address, message, f"Give it one that stays, {_since(guest)}: {vf.noting()}")


@RULES.rule(
    "vf-mac-differs",
    Severity.WARNING,
    "Give the virtual function the right MAC: pvehooks bind ADDRESS --vfs N --vf NUMBER:mac=MAC --persist",
    needs=("holders", "paths", "pci", "vf_support"),
)
def vf_mac_differs(guest: Guest, node: Node) -> Iterator[Finding]:
    """A virtual function (VF) of a network card has another MAC than the one that is noted, or that the VM's cloud-init is set up for.

    cloud-init finds an interface by its MAC, and configures none with another. A card with spoofchk=on drops what a VM sends from another
    MAC than its VF's. With trust=on a VM may set a MAC of its own: that is not reported. PVE writes the network data of `ipconfigN` for `netN` alone; that of a VF comes from a file of one's own (cicustom).
    Source: cloud-init, "Networking config Version 2" (match, macaddress); qemu-server, Cloudinit.pm; ip-link(8), spoofchk, trust; the kernel's
    drivers/net/ethernet (igb_set_vf_mac_addr, ixgbe_set_vf_mac_addr, i40e_check_vf_permission).
    """
    vfs = list(_vfs(guest, node))
    for vf in vfs if guest.running else ():
        is_own = vf.number in vf.macs.trusted and vf.shown != _NONE
        if vf.noted and vf.shown not in ("", vf.noted) and not is_own:
            shown = "no MAC" if vf.shown == _NONE else f"the MAC {vf.shown}"
            message = f"{vf.option}: {vf.words} has {shown} now, and not {vf.noted}, which is noted for it: it was changed on {node.name}, or by the VM itself"
            remedy = "Stop the VM and start it: its start sets what is noted, a restart from within does not"
            if not _is_guarded(guest):
                remedy = f"Stop the VM, have what is noted set (pvehooks bind {vf.pf.address} --boot), and start it"
            other = "" if vf.shown == _NONE else f". If the new one is right: {vf.noting(vf.shown)}"
            yield Finding(vf.device.address, message, f"{remedy}{other}")
    yield from _by_cloud_init(vfs, guest, node)


def _is_guarded(guest: Guest) -> bool:
    return is_stub(str(guest.options.get("hookscript", "")))


def _since(guest: Guest) -> str:
    """When what is noted is set: by the guard before each start, and at boot."""
    return "from the VM's next start on" if _is_guarded(guest) else "from the node's next boot on"


def _by_cloud_init(vfs: list[_Vf], guest: Guest, node: Node) -> Iterator[Finding]:
    volid = str(guest.properties("cicustom").get("network", ""))
    if not (vfs and volid and _all_macs_known(vfs, guest, node)) or isinstance(node.paths, Unread):
        return
    text = node.paths.snippet(volid)
    if isinstance(text, Unread):
        yield not_examined("cicustom", f"whether the network data {volid} of cloud-init fits the MACs of the VM is unknown: {text.why}")
        return
    lines = (line for line in text.split("\n") if not line.lstrip().startswith("#"))
    wanted = {mac.lower() for mac in _IN_NETWORK_DATA.findall("\n".join(lines))}
    own = {vf.noted or vf.shown for vf in vfs}
    unmatched = sorted(wanted - own - _macs_of_net(guest))
    unwanted = [vf for vf in vfs if (vf.noted or vf.shown) not in wanted]
    if not unmatched or not unwanted:
        return
    if "" in own:
        unread = [vf.device.address for vf in vfs if not (vf.noted or vf.shown)]
        why = f"the MAC of {unread[0]} is not noted, and the card does not show it"
        yield not_examined("cicustom", f"whether the network data {volid} of cloud-init fits the MACs of the VM is unknown: {why}")
        return
    vf = unwanted[0]
    now = "has no MAC of its own" if (vf.noted or vf.shown) == _NONE else f"has the MAC {vf.noted or vf.shown}"
    message = (
        f"the network data of cloud-init, {volid}, is for the MAC {unmatched[0]}, which no network device of the VM has: {vf.option}, {vf.words} {now}."
        " cloud-init configures no interface with another MAC"
    )
    remedy = f"Give it that MAC, {_since(guest)}: {vf.noting(unmatched[0])}; or write its own into {volid}"
    yield Finding(vf.device.address, message, remedy)


def _all_macs_known(vfs: list[_Vf], guest: Guest, node: Node) -> bool:
    """Whether VFs and netN are all the network devices that it has, and it has a drive with cloud-init's data."""
    entries = (*guest.hostpci, *guest.args_pci)
    devices = [device for claim in claims(guest, node) for device in claim.devices]
    known = [device for device in devices if device.class_code >> 16 not in (_NETWORK, -1)] + [vf.device for vf in vfs]
    return (
        len(known) == len(devices)
        and not any(isinstance(entry.choices, Unread) for entry in entries)
        and not any(option.startswith("usb") for option in guest.options)
        and any(_CLOUD_INIT.search(file) for _, file in derived.disks.drives(guest))
    )


def _macs_of_net(guest: Guest) -> set[str]:
    texts = (str(value).lower() for option, value in guest.options.items() if option.startswith("net"))
    return {mac for text in texts for mac in re.findall(_MAC, text)}
