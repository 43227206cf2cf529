"""What is done after a guest's end: its devices are looked at, and given back where the settings say so.

Source: qemu-server, QemuServer.pm (vm_stop_cleanup runs post-stop with the guest's lock held). Nothing here fails or delays a stop: the work
is a process of its own with a deadline. What it has not done by then stays noted, and pvehooks-return.service goes on with it.
"""

from __future__ import annotations

from pvehooks.guard import supervise
from pvehooks.guard.log import log_line, with_full_stop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pvehooks.actions.pci.started import GuestStart
    from pvehooks.guard.supervise import Send
    from pvehooks.host import Host

# Until the settings are known.
_SECONDS = 10.0
# Of devices; the others are in the journal.
_MOST_LINES = 6
_EVENTS = {"returned": "device-returned", "stays": "device-not-returned", "failed": "device-not-returned"}


def run(vmid: int, root: str, is_phase: bool) -> int:
    """Does it; returns 0 whatever happens. `is_phase`: PVE runs us, and holds the guest's lock."""
    seconds = _SECONDS

    def on_message(_: str, fields: list[str]) -> float:
        nonlocal seconds
        seconds = float(fields[0])
        return seconds

    ended = supervise.run(lambda send: _after_stop(vmid, root, is_phase, send), seconds, on_message)
    if ended is None:
        log_line(
            f"VM {vmid}: its devices could not be looked at and given back within {seconds:.0f} s ([guard] deadline). It is tried again in"
            " the background. See: journalctl -u pvehooks-return; dmesg"
        )
    return 0


def _after_stop(vmid: int, root: str, is_phase: bool, send: Send) -> int:
    from pvehooks.host import Host

    host = Host(root)
    try:
        from pvehooks.actions.pci import started
        from pvehooks.facts.guests import running
        from pvehooks.settings import compiled

        known = compiled.read(host, vmid)
        if known is not None:
            send("settings", known.settings.guard.deadline, known.settings.guard.on_error)
        start = started.read(host, vmid)
        if start is None:
            host.remove(started.path(vmid))
        elif not running.is_running(host, vmid) and (is_phase or not _is_locked(host, vmid)):
            _look(host, start)
            _give_back(host, start)
    except Exception as error:  # noqa: BLE001 - a stop must not fail for it
        from pvehooks.guard import journal

        log_line(f"VM {vmid}: the guard made a mistake after its stop, please report it: journalctl -t {journal.IDENTIFIER}")
        journal.bug(host, error, "", vmid)
        return supervise.CRASHED
    return 0


def _is_locked(host: Host, vmid: int) -> bool:
    """Whether PVE works on the guest: it may be starting."""
    try:
        with host.lock(f"/var/lock/qemu-server/lock-{vmid}.conf", 0.0):
            return False
    except FileNotFoundError:
        return False
    except OSError:
        return True


def _look(host: Host, start: GuestStart) -> None:
    """Logs what is wrong with the devices."""
    from pvehooks.derived import health
    from pvehooks.facts.pci import devices as pci
    from pvehooks.values import Unread

    bus = pci.devices(host)
    if isinstance(bus, Unread):
        return
    for device in start.devices.values():
        there = bus.get(device.address)
        for found in health.ailments(device.address, device.ids, device.state, there, pci.state(host, device.address)):
            from pvehooks.guard import journal

            label = there.label if there is not None else f"{device.address} [{device.ids}]"
            message = f"{start.label}: {label} {found.words}. {with_full_stop(found.remedy.format(vmid=start.vmid))}"
            log_line(message)
            kind = "device-dead" if found.dead else "device-degraded"
            journal.event(host, kind, message, "", start.vmid, device=device.address)


def _give_back(host: Host, start: GuestStart) -> None:
    """Gives back what is to be given back; else the note goes, with nothing more to do."""
    if not any(device.back_to or device.stays or device.undo for device in start.devices.values()):
        from pvehooks.actions.pci import started

        started.keep(host, start, ())
        return
    if not host.is_node:
        log_line(f"{start.label}: the guard would give its devices back (nothing is done in a tree).")
        return
    from pvehooks.actions.pci import giveback
    from pvehooks.facts.cluster import nodes as node_facts
    from pvehooks.guard import journal

    node = node_facts.node_name(host)
    for number, each in enumerate(giveback.give_back(host, node, start)):
        message = f"{start.label}: {with_full_stop(f'{each.label} {each.words}')}"
        if number < _MOST_LINES:
            log_line(message)
        if each.outcome in _EVENTS:
            journal.event(host, _EVENTS[each.outcome], message, node, start.vmid, device=each.address)
