"""USB devices of a tree, planted from a table of a line a device, laid out as the kernel's sysfs does it.

    1-2 id=1050:0407 at=0000:00:14.0 words=Yubico/YubiKey

Keys: `id` (vendor:product), `at` (PCI address of the controller, "-" for none), `words` (manufacturer/product, "_" for a space), `hub`.
A name usbN is a root hub.
"""

from __future__ import annotations

from tests.beds.tree import Content, Link

BUS = "sys/bus/usb/devices"


def plant(table: str) -> dict[str, Content]:
    """The files of the devices in a table."""
    files: dict[str, Content] = {BUS: None}
    for line in table.splitlines():
        if line.strip() and not line.startswith("#"):
            name, *pairs = line.split()
            files.update(_device(name, dict(pair.partition("=")[::2] for pair in pairs)))
    return files


def _device(name: str, keys: dict[str, str]) -> dict[str, Content]:
    vendor, product = keys.get("id", "1d6b:0002").split(":")
    controller = keys.get("at", "0000:00:14.0")
    below = "platform/usb-host.0" if controller == "-" else f"pci0000:00/{controller}"
    bus = name.removeprefix("usb").partition("-")[0]
    ports = name.partition("-")[2].split(".") if "-" in name else []
    chain = [f"{bus}-{'.'.join(ports[: depth + 1])}" for depth in range(len(ports))]
    here = "/".join(["devices", below, f"usb{bus}", *chain])
    maker, _, model = keys.get("words", "").replace("_", " ").partition("/")
    files: dict[str, Content] = {
        f"{BUS}/{name}": Link(f"../../../{here}"),
        f"sys/{here}/idVendor": f"{vendor}\n",
        f"sys/{here}/idProduct": f"{product}\n",
        f"sys/{here}/bDeviceClass": "09\n" if "hub" in keys or not ports else "00\n",
        f"sys/{here}/busnum": f"{bus}\n",
    }
    files |= {f"sys/{here}/manufacturer": f"{maker}\n"} if maker else {}
    return files | ({f"sys/{here}/product": f"{model}\n"} if model else {})
