"""Display and sound."""

from __future__ import annotations

from collections.abc import Iterator

from pvehooks.derived import remedies
from pvehooks.derived.disks import arch_of
from pvehooks.derived.ostype import machine_version
from pvehooks.rules.engine import RuleSet, not_examined
from pvehooks.values import Finding, Guest, Node, Severity, Unread

# Older machine versions get no sound at all (qemu-server, config_to_command).
_WITH_AUDIO = (4, 0)
_OPTIONS = frozenset(("audio0", "vga", "spice_enhancements"))


def _concerned(guest: Guest) -> bool:
    return not guest.template and not _OPTIONS.isdisjoint(guest.options)


RULES = RuleSet(applies_to=_concerned, order=230, options=("audio", "spice_enhancements", "vga"))


def display(guest: Guest) -> str:
    """The type of its display, '' for PVE's default."""
    return str(guest.properties("vga").get("type", ""))


def has_spice(guest: Guest, node: Node) -> bool:
    """Whether QEMU is a SPICE server for it: by its display (an ARM guest's by default), or by its own `args` (config_to_command)."""
    kind = display(guest)
    if kind.startswith(("qxl", "virtio")) or (not kind and arch_of(guest, node) == "aarch64"):
        return True
    return any(word in ("-spice", "--spice") for word in str(guest.options.get("args", "")).split())


def _spice(guest: Guest) -> str:
    return f"Give it a SPICE display: {remedies.replacing(guest, 'vga', 'type', 'qxl', 'type')}"


@RULES.rule(
    "audio-spice-without-display",
    Severity.BLOCK,
    "Give it a SPICE display: qm set {vmid} --vga qxl. Or have the sound dropped: qm set {vmid} --audio0 device=DEVICE,driver=none",
    needs=("cpu_flags",),
)
def audio_spice_without_display(guest: Guest, node: Node) -> Iterator[Finding]:
    """The sound goes to SPICE clients, which is the default, but the display has no SPICE: QEMU does not start.

    QEMU says "Could not init 'spice' audio driver". SPICE comes with the display types qxl and virtio.
    Source: the administrator's manual, "Audio Device"; QEMU, audio/spiceaudio.c.
    """
    audio, machine = guest.properties("audio0"), machine_version(guest)
    if machine is not None and machine < _WITH_AUDIO:
        return
    if audio and audio.get("driver", "spice") == "spice" and not has_spice(guest, node):
        remedy = f"{_spice(guest)}. Or have the sound dropped: {remedies.replacing(guest, 'audio0', 'driver', 'none')}"
        message = f"audio0 plays for SPICE clients, and the display ({display(guest) or 'the default'}) has no SPICE: QEMU would not start"
        yield Finding("audio0", message, remedy)


@RULES.rule("spice-enhancements-idle", Severity.INFO, "Give it a SPICE display: qm set {vmid} --vga qxl", needs=("cpu_flags",))
def spice_enhancements_idle(guest: Guest, node: Node) -> Iterator[Finding]:
    """Folder sharing or video streaming for SPICE clients is set, and the display has no SPICE: it does nothing.

    Source: the administrator's manual, "SPICE Enhancements"; qemu-server, config_to_command.
    """
    enhancements = guest.properties("spice_enhancements")
    on = [name for name in enhancements if enhancements[name] not in (0, "off")]
    if on and not has_spice(guest, node):
        message = f"{', '.join(on)} of SPICE is set, and the display ({display(guest) or 'the default'}) has no SPICE"
        yield Finding("spice_enhancements", message, f"{_spice(guest)}. Or take it out: qm set {guest.vmid} --delete spice_enhancements")


@RULES.rule("clipboard-without-display", Severity.BLOCK, "Take another display: qm set {vmid} --vga std,clipboard=vnc")
def clipboard_without_display(guest: Guest, node: Node) -> Iterator[Finding]:
    """The VNC clipboard is switched on for a display without VNC (none, or a serial one): PVE refuses the start.

    Source: qemu-server, assert_clipboard_config.
    """
    kind = display(guest)
    if guest.properties("vga").get("clipboard") == "vnc" and (kind == "none" or kind.startswith("serial")):
        remedy = f"Take another display: {remedies.replacing(guest, 'vga', 'type', 'std', 'type')}. Or do without: {remedies.without(guest, 'vga', 'clipboard')}"
        yield Finding("vga", f"clipboard=vnc cannot be used with the display {kind}: PVE refuses to start it", remedy)


@RULES.rule("display-serial-missing", Severity.WARNING, "Give it the port: qm set {vmid} --serialN socket")
def display_serial_missing(guest: Guest, node: Node) -> Iterator[Finding]:
    """The display is a serial port that the VM does not have, or that is a port of the node: its console shows nothing.

    Source: the administrator's manual, "Display"; qemu-server, PVE/CLI/qm.pm (terminal).
    """
    kind = display(guest)
    if kind.startswith("serial") and guest.options.get(kind) != "socket":
        there = guest.options.get(kind)
        why = f"which is {there} of the node" if there else "which it does not have"
        message = f"the display is {kind}, {why}: its console shows nothing"
        yield Finding("vga", message, f"Give it the port: qm set {guest.vmid} --{kind} socket")


@RULES.rule("display-gl-unavailable", Severity.BLOCK, "Install what is missing: apt install libgl1 libegl1", needs=("gl_lacks",))
def display_gl_unavailable(guest: Guest, node: Node) -> Iterator[Finding]:
    """The display virtio-gl renders on a graphics card of the node, and the node lacks what that takes: PVE refuses the start.

    The libraries are not part of an installation of PVE. There is no render node without a driver for the card, for example while the card is
    passed through.
    Source: the administrator's manual, "VirGL"; qemu-server, print_vga_device.
    """
    if display(guest) != "virtio-gl":
        return
    if isinstance(node.gl_lacks, Unread):
        yield not_examined("vga", f"whether {node.name} can render is unknown: {node.gl_lacks.why}")
        return
    packages = [each for each in node.gl_lacks if each != "render node"]
    if packages:
        missing = "packages" if len(packages) > 1 else "package"
        message = f"virtio-gl cannot be used, {node.name} lacks the {missing} {' and '.join(packages)}: PVE refuses to start it"
        yield Finding("vga", message, f"Install: apt install {' '.join(packages)}")
    elif node.gl_lacks:
        message = (
            f"virtio-gl cannot be used, no graphics card of {node.name} has a render node (/dev/dri/renderD*): PVE refuses to start it"
        )
        yield Finding("vga", message, f"Take another display: {remedies.replacing(guest, 'vga', 'type', 'virtio', 'type')}")
