"""What the settings have done with devices before a start is examined: some are taken off the bus and looked for again."""

from __future__ import annotations

from pvehooks.actions.pci import device_settings, rescan
from pvehooks.actions.pci.bind import Unbound
from pvehooks.derived import passthrough
from pvehooks.facts import hardware
from pvehooks.guard import journal
from pvehooks.guard.log import log_line, with_full_stop
from pvehooks.values import Unread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pvehooks.guard.supervise import Send
    from pvehooks.host import Host
    from pvehooks.settings.compiled import StartSettings
    from pvehooks.values import Guest


def look_again(host: Host, node_name: str, guest: Guest, settings: StartSettings, send: Send) -> bool:
    """Looks again for the devices of the guest whose settings say so; False where one did not come back, which refuses the start."""
    if not any(section.is_rescanned for section in settings.devices):
        return True
    node = hardware.gather(host, node_name)
    bus = passthrough.pci_devices(node)
    absent = [section.selector for section in settings.devices if section.is_rescanned and _is_absent(section.selector, guest, bus)]
    at = ""
    try:
        if absent:
            send("changing", f"the look for {', '.join(absent)} on the bus")
            rescan.look_for_absent(host)
            send("changing", "")
            node = hardware.gather(host, node_name)
            bus = passthrough.pci_devices(node)
        serials = {address: known.serial for address, known in guest.accepted.devices.items()} if guest.accepted else {}
        sections = device_settings.assign(host, settings.devices, bus, serials).by_address
        for address, device in passthrough.named(guest, node).items():
            if address in sections and sections[address].is_rescanned and address not in absent:
                at = address
                send("changing", f"taking {device.label} off the bus and looking for it again")
                why = rescan.again(host, node_name, guest, address)
                send("changing", "")
                words = f"was not looked for again: {why}" if why else "was taken off the bus and found again"
                log_line(f"{guest.label}: {device.label} {with_full_stop(words)}")
    except Unbound as failed:
        send("changing", "")
        words = f"{with_full_stop(failed.message)} {failed.hint}".rstrip()
        kind = "device-dead" if isinstance(failed, rescan.NotBack) else "device-not-bound"
        journal.event(host, kind, f"{guest.label}: {words}", node_name, guest.vmid, device=at)
        if guest.allowance is not None:
            log_line(f"{guest.label}: {words}")
            return True
        log_line(f"{guest.label} is not started: {words}")
        log_line(
            f"  To start it once nevertheless: pvehooks allow {guest.vmid} --once --reason WHY. Without looking for it again: take before_start and"
            f" reset = remove-rescan out of the section [device ...] of {at or ', '.join(absent)} (its file: pvehooks config)"
        )
        return False
    except OSError as error:
        send("changing", "")
        log_line(f"{guest.label}: the bus could not be looked at again: {error.strerror}")
    return True


def _is_absent(selector: str, guest: Guest, bus: Iterable[str]) -> bool:
    """Whether the settings name a device of the guest by its address, and nothing is there."""
    addresses = {address for entry in guest.hostpci for address in (() if isinstance(entry.addresses, Unread) else entry.addresses)}
    named = any(selector == address or selector.rpartition(".")[0] == address for address in addresses)
    return named and selector.count(":") == 2 and not any(name == selector or name.startswith(f"{selector}.") for name in bus)
