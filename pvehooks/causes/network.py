"""Failed starts: network, USB, display, sound, ports."""

from __future__ import annotations

from re import Match

from pvehooks.causes.registry import CauseSet, Rank

CAUSES = CauseSet()
_NETWORK = "pve-common, PVE/Network.pm"


@CAUSES.cause(
    "bridge-not-there",
    r"bridge '(?P<bridge>[^']+)' (?:does not exist|is not active|is neither a linux nor an OVS bridge)",
    "Apply the node's network configuration: ifreload -a; or give the VM another bridge: qm config {vmid}",
    _NETWORK,
    rules=("bridge-missing",),
)
def bridge_not_there(found: Match[str]) -> str:
    """A network card of the VM is on a bridge that this node does not have: after a migration, a renamed interface, or an SDN change that was not
    applied."""
    return f"the bridge {found['bridge']} does not exist on this node"


@CAUSES.cause(
    "network-script-failed",
    r"network script (?P<script>\S+) failed with status (?P<status>\d+)",
    "The lines before it say why; see the bridge: ip -br link",
    "QEMU, net/tap.c",
    rank=Rank.GENERAL,
)
def network_script_failed(found: Match[str]) -> str:
    """Proxmox VE's script that puts the VM's interface on its bridge failed; what it printed before says why."""
    return f"the network script {found['script']} failed"


@CAUSES.cause(
    "interface-not-added",
    r"can't (?:add|enslave) '?(?P<port>[\w.-]+)'? to (?:bridge )?'?(?P<bridge>[\w.-]+)'?|unable to add (?:default )?vlan|can't add (?:ovs port|vlan tag)|vlan aware feature need to be enabled",
    "See the bridge: ip -d link show; is it VLAN aware where the VM has a tag or trunks",
    _NETWORK,
    rank=Rank.PLACE,
)
def interface_not_added(found: Match[str]) -> str:
    """The VM's network interface could not be put on its bridge, or not into its VLAN."""
    return f"the VM's network interface could not be added to {found['bridge'] or 'its bridge'}"


@CAUSES.cause(
    "tap-busy",
    r"could not configure /dev/net/tun \((?P<tap>[\w.-]+)\): (?P<why>.+)",
    "See what holds it: ip link show {tap}; remove it where no VM uses it: ip link delete {tap}",
    "QEMU, net/tap-linux.c",
)
def tap_busy(found: Match[str]) -> str:
    """The network interface that QEMU is to make is there already, and in use: a QEMU of this VM still runs, or its end was not clean."""
    return f"the network interface {found['tap']} cannot be made: {found['why']}"


@CAUSES.cause(
    "mtu-too-large",
    r"netdev (?P<net>\w+): MTU '(?P<mtu>\d+)' is bigger than the bridge MTU '(?P<limit>\d+)'",
    "Give it no more than the bridge: mtu=1 takes the bridge's own",
    "qemu-server, PVE/QemuServer.pm",
)
def mtu_too_large(found: Match[str]) -> str:
    """A network card of the VM may not have a larger MTU than the bridge that it is on."""
    return f"{found['net']} has an MTU of {found['mtu']}, its bridge {found['limit']}"


@CAUSES.cause(
    "address-in-use",
    r"Failed to (?:bind socket|listen)(?: to [^:]+)?: Address already in use|listen: Address already in use|Failed to find an available port: Address already in use|bind\(\S*\): Address already in use",
    "See who has it: ss -ltnp; a fixed port in args must be free",
    "QEMU, util/qemu-sockets.c",
)
def address_in_use(found: Match[str]) -> str:
    """A port that the VM is to listen on (VNC, SPICE, serial, a debugger in args) is taken by another process, or all of a range are."""
    return "a port that the VM listens on is taken"


@CAUSES.cause(
    "socket-left-over",
    r"Failed to (?:bind|connect|create)[^/]*(?P<path>/(?:var/)?run/qemu-server/[\w.-]+)'?: (?P<why>.+)",
    "See whether a QEMU of this VM still runs: qm list; its processes: pgrep -af 'id {vmid}'",
    "QEMU, util/qemu-sockets.c",
    rank=Rank.PLACE,
)
def socket_left_over(found: Match[str]) -> str:
    """QEMU makes sockets in /run/qemu-server. One cannot be made: /run is full, or a process of the last start still has it."""
    return f"the socket {found['path']} cannot be used: {found['why']}"


@CAUSES.cause(
    "usb-not-there",
    r"(?:failed to (?:find|open) host usb device|no host device found|usb device [\w:.-]+ not found|libusb: error)|no usb id or path given",
    "See what is plugged in: lsusb; what the VM names: qm config {vmid}",
    "QEMU, hw/usb/host-libusb.c",
    rank=Rank.PLACE,
    rules=("usb-device-absent",),
)
def usb_not_there(found: Match[str]) -> str:
    """A USB device of the VM is not plugged in, or the host uses it."""
    return "a USB device of the VM cannot be opened"


@CAUSES.cause(
    "usb-beyond-machine",
    r"using (?P<slot>usb\d+) is only possible with machine type|More than one USB mapping per host",
    "Use a lower number, or a newer machine type: qm config {vmid}",
    "qemu-server, PVE/QemuServer/USB.pm",
    rules=("usb-beyond-limit",),
)
def usb_beyond_machine(found: Match[str]) -> str:
    """A VM has up to five USB devices. More of them need a machine version of 7.1 and a guest that is new enough."""
    return f"{found['slot'] or 'a USB device'} is beyond what the VM's machine type has"


@CAUSES.cause(
    "gl-not-available",
    r"missing libraries for '(?P<type>[^']+)' detected|no DRM render node detected|egl: (?:eglInitialize failed|render node init failed)|opengl is not available|Display 'egl-headless' is not available|eglInitialize failed",
    "Install them: apt install libgl1 libegl1; the card of the display must stay with the host; or: qm set {vmid} --vga virtio",
    "qemu-server, PVE/QemuServer.pm (print_vga_device); QEMU, ui/egl-helpers.c",
    rules=("display-gl-unavailable",),
)
def gl_not_available(found: Match[str]) -> str:
    """The display virtio-gl renders on a graphics card of the host, with libraries that are not installed, or without a card: it was given to
    a VM."""
    return "the host has no OpenGL for the VM's display"


@CAUSES.cause(
    "audio-not-available",
    r"(?:[Cc]ould not init|[Uu]nknown|failed to initialize) .*audio(?:dev)?|audio: .*(?:Could not|failed)|Audiodev .* not found",
    "Take the audio device out: qm set {vmid} --delete audio0; or put args right",
    "QEMU, audio/audio.c",
    rules=("audio-spice-without-display",),
)
def audio_not_available(found: Match[str]) -> str:
    """The VM's audio device needs a driver that this QEMU, or this display, does not have."""
    return "the VM's audio device cannot be started"


@CAUSES.cause(
    "port-not-there",
    r"no such (?P<kind>serial|parallel) device|(?:could not|Could not) open (?:serial device |parallel device )?'?(?P<port>/dev/(?:tty\w+|parport\d+|serial/[\w/.:-]+|usb/[\w/.:-]+))'?: (?P<why>.+)",
    "Plug it in or take it out: qm set {vmid} --delete serial0",
    "QEMU, chardev/char-serial.c",
    rules=("port-missing",),
)
def port_not_there(found: Match[str]) -> str:
    """A serial or parallel port of the VM is a device of the host that is not there, or in use."""
    return (
        f"the port {found['port']} cannot be opened: {found['why']}" if found["port"] else f"a {found['kind']} port of the VM is not there"
    )


@CAUSES.cause(
    "display-type-unsuitable",
    r"vga type (?P<type>\S+) is not compatible with VNC clipboard|no device-type for (?P<other>\S+)|serial terminal .* not (?:found|configured)|no serial interface defined",
    "Choose another display: qm set {vmid} --vga std",
    "qemu-server, PVE/QemuServer.pm",
    rules=("clipboard-without-display", "display-serial-missing"),
)
def display_type_unsuitable(found: Match[str]) -> str:
    """The display of the VM is of a type that one of its other options cannot work with."""
    return "the VM's display type does not fit its other options"


@CAUSES.cause(
    "bridge-without-port",
    r"no physical interface on bridge '(?P<bridge>[^']+)'",
    "Make the bridge VLAN aware and give it a port (bridge-ports in /etc/network/interfaces): ifreload -a; or take the VM's tag away: qm config {vmid}",
    _NETWORK,
)
def bridge_without_port(found: Match[str]) -> str:
    """A network card of the VM has a VLAN tag. On a bridge that is not VLAN aware Proxmox VE makes a VLAN interface on the bridge's port for that, and this
    bridge has none: it is an internal one, or its port was renamed or given to a VM."""
    return f"the bridge {found['bridge']} has no port, and a network card of the VM has a VLAN tag"


@CAUSES.cause(
    "ipv6-off",
    r"failed to open /proc/sys/net/ipv6/conf/(?P<port>\S+)/disable_ipv6 for writing",
    "Take ipv6.disable=1 from the kernel's command line (ipv6.disable_ipv6=1 does no harm), then restart the node",
    _NETWORK,
)
def ipv6_off(found: Match[str]) -> str:
    """Proxmox VE turns link-local addresses off on each interface that it makes for a VM. The kernel has no such setting while IPv6 as a whole is off."""
    return f"the kernel's IPv6 is off, so the interface {found['port']} cannot be set up"


@CAUSES.cause(
    "address-not-here",
    r"(?:-(?P<option>vnc|spice|serial|monitor|qmp|chardev|netdev) (?P<where>[\w.:-]+)[:,].*)?Cannot assign requested address",
    "Put an address of this node there: qm config {vmid}; the node's: ip -br address",
    "QEMU, util/qemu-sockets.c",
)
def address_not_here(found: Match[str]) -> str:
    """args have QEMU listen on an address that this node does not have: after a migration, a restore on another node, or since the node's address changed."""
    return f"an address that args name is not one of this node{': ' + found['where'] if found['where'] else ''}"
