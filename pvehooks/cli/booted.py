"""Whether systemd runs this system; under another init, in a chroot and in most containers of applications it does not."""

from __future__ import annotations

from pvehooks.host import Host

WHAT_WORKS = (
    "systemd does not run here, so nothing starts the daemon, nor does what is recorded for boot: check, report, attach, bind --now and the guard at"
    " VMs' starts work; pvehooksd can be started by hand"
)


def without_systemd(host: Host) -> bool:
    """As sd_booted(3) finds it; of a tree that is not known."""
    return host.is_node and not host.is_dir("/run/systemd/system")
