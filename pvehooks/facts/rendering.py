"""What the display type virtio-gl asks of the node (qemu-server, PVE/QemuServer.pm, print_vga_device)."""

from __future__ import annotations

from pvehooks.facts.reading import unread
from pvehooks.host import Host
from pvehooks.values import Unread

_LIBRARIES = {"libgl1": "libGL.so.1", "libegl1": "libEGL.so.1"}
_PLACES = ("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu")
_NODES = "/dev/dri"


def lacking(host: Host) -> tuple[str, ...] | Unread:
    """The packages that are not installed, and "render node" where no graphics card of the node has one."""
    packages = [name for name, library in _LIBRARIES.items() if not any(host.exists(f"{place}/{library}") for place in _PLACES)]
    try:
        nodes = host.names(_NODES)
    except FileNotFoundError:
        nodes = []
    except OSError as error:
        return unread(_NODES, error)
    return (*packages, *(() if any(name.startswith("renderD") for name in nodes) else ("render node",)))
