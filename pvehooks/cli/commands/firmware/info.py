"""pvehooks firmware info: the kind of a firmware file, and which guests can start with it."""

from __future__ import annotations

import argparse

from pvehooks import wording
from pvehooks.cli import envelope, terminal
from pvehooks.cli.view import view
from pvehooks.errors import EXIT_BLOCKED, EXIT_OK, NodeError
from pvehooks.facts.storage import images
from pvehooks.formats import firmwareimage
from pvehooks.host import Host
from pvehooks.values.images import LIMIT, FirmwareImage

SUMMARY = "show what a firmware file is, and which VMs can start with it"
EXAMPLE = "pvehooks firmware info /root/OVMF_CODE_4M.fd"
KINDS = {
    "code": "code only; the variables are on the EFI disk of each VM",
    "whole": "a whole flash",
    "variables": "variables only: no VM can start with it",
}


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the action takes."""
    parser.add_argument("file", metavar="FILE", help="the file")


def run(options: argparse.Namespace) -> int:
    """Prints the kind of the file; the status shows whether it is a firmware image."""
    path = options.file
    host = Host() if options.root == "/" else view(options).host
    try:
        content = host.read(path, limit=LIMIT)
    except OSError as error:
        raise NodeError(f"{path}: {error.strerror}") from error
    image = firmwareimage.read(content)
    if options.json:
        envelope.show(host, None, {"path": path, "sha256": images.sha256(content), **described(image)})
    elif not image.kind:
        print(wording.printable(f"{path} is {image.why}"))
    else:
        terminal.table(("", ""), [("file", path), *rows(image), ("sha256", images.sha256(content))])
    return EXIT_OK if image.kind else EXIT_BLOCKED


def described(image: FirmwareImage) -> dict[str, object]:
    """The image for JSON."""
    return {**image._asdict(), "kind": image.kind or None, "volumes": list(image.volumes), "bios": firmwareimage.fits_bios(image)}


def rows(image: FirmwareImage) -> list[tuple[str, str]]:
    """The image for people."""
    family = f", belongs to EFI disks of efitype={image.family}" if image.family and image.kind == "code" else ""
    return [
        ("kind", f"{KINDS[image.kind]}{family}"),
        ("size", f"{image.size} bytes"),
        ("made for", f"{image.arch or 'any machine'}{', QEMU (OVMF)' if image.ovmf else ''}"),
        ("VMs", _guests(image)),
        *(("volume" if number == 0 else "", each) for number, each in enumerate(image.volumes)),
    ]


def _guests(image: FirmwareImage) -> str:
    if image.kind == "code":
        return "ordinary" + (", SEV, SEV-ES" if image.sev_es else "")
    if firmwareimage.fits_bios(image):
        confidential = [name for name, fits in (("SEV-SNP", image.snp), ("TDX", image.tdx)) if fits]
        return ", ".join(confidential) or "none: it has no metadata for SEV-SNP or TDX, and other VMs need a code image"
    return "none"
