"""pvehooks bind --boot, which the units of the package call: does at boot what `pvehooks bind --persist` recorded."""

from __future__ import annotations

from pvehooks.actions.pci import at_boot, bind
from pvehooks.errors import EXIT_BLOCKED, EXIT_OK
from pvehooks.host import Host
from pvehooks.journal import entries, output


def apply_all(host: Host, name: str, addresses: list[str]) -> int:
    """Applies what was recorded, and logs it.

    Without addresses it runs early at boot, before udev has examined the hardware. A present device that could not be bound is
    tried once more when udev finds it, and logged then.
    """
    bind.finish_begun(host)
    out = output.choose()
    failed = False
    for address in addresses or at_boot.addresses(host):
        outcome = at_boot.apply(host, name, address, patient=bool(addresses))
        if outcome is None:
            continue
        message = f"{outcome.label} {outcome.words}"
        failed |= outcome.state is at_boot.BootState.NOT_DONE
        if outcome.state is at_boot.BootState.DONE:
            out.write(entries.event("bound-at-boot", message, name, device=address))
        elif outcome.state is at_boot.BootState.NOT_DONE and (addresses or not outcome.again):
            out.write(entries.event("not-bound-at-boot", message, name, device=address))
    return EXIT_BLOCKED if failed and addresses else EXIT_OK
