"""pvehooks guest: how PVE reads a config."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Mapping

from pvehooks.cli import envelope, guests, root
from pvehooks.errors import EXIT_OK, NodeError, UsageError
from pvehooks.facts.cluster import nodes as node_facts
from pvehooks.facts.guests import configs as guest_facts
from pvehooks.formats import propertystring
from pvehooks.host import Host
from pvehooks.values import GuestConfig, Options
from pvehooks.wording import printable

SUMMARY = "show how Proxmox VE reads the config of a VM"
EXAMPLE = "pvehooks guest 100 --json"
# The options that matter for boot and passthrough, and all other property strings.
_PROPS = re.compile(r"(?:hostpci|net)\d+|rng0|boot|efidisk0|tpmstate0", re.ASCII)
_OTHER_PROPS = re.compile(
    r"(?:ide|sata|scsi|virtio|usb|virtiofs|numa)\d+|cpu|machine|memory|vga|audio0|ivshmem|smbios1|meta|startup|amd-sev|intel-tdx|agent",
    re.ASCII,
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    parser.add_argument("guest", metavar="VMID|FILE", help="a VM of this node, or a config file")


def run(options: argparse.Namespace) -> int:
    """Prints the config as parsed."""
    node, vmid, raw = _raw(options)
    problem = _problem(raw)
    host = root.host(options)
    config = guest_facts.parse(host, raw)
    if options.json:
        envelope.show(host, node, as_json(vmid, config, problem))
    else:
        _show(vmid, config, problem)
    return EXIT_OK


def _raw(options: argparse.Namespace) -> tuple[str | None, int | None, bytes]:
    """The node (None for a file), the VMID (None for a file without one in its name) and the bytes; raises NodeError or GuestNotHere."""
    name = options.guest
    vmid: int | None
    node: str | None = None
    if name.isascii() and name.isdecimal():
        try:
            vmid = guests.vmid(name)
        except argparse.ArgumentTypeError as error:
            raise UsageError(str(error), hint="For a file of that name write: ./" + name) from None
        host = root.host(options)
        node = node_facts.node_name(host, options.node)
        node_facts.require_guest(host, node, vmid)
        path, reader = node_facts.config_path(node, vmid), host
    else:
        vmid = node_facts.vmid_of(os.path.basename(name))
        path, reader = os.path.abspath(name), Host()
    try:
        return node, vmid, reader.read(path, limit=guest_facts.CONFIG_LIMIT)
    except OSError as error:
        raise NodeError(f"{path}: {error.strerror}") from error


def _problem(raw: bytes) -> str:
    if len(raw) > guest_facts.CONFIG_LIMIT:
        return "larger than 1 MiB, only the first MiB is read"
    return "; ".join(words for _, words in guest_facts.problems(raw))


def as_json(vmid: int | None, config: GuestConfig, problem: str) -> dict[str, object]:
    """The config as PVE's parser returns it, with the property strings parsed."""
    sections = {"main": config.main, "pending": config.pending}
    sections.update({f"snapshot:{name}": options for name, options in config.snapshots.items()})
    special = {name: _text(options) for name, options in config.special_sections.items()}
    return {
        "vmid": vmid,
        "digest": config.digest,
        "main": _text(config.main),
        "pending": _text(config.pending),
        "pending_delete": {name: {"force": int(forced)} for name, forced in config.pending_delete.items()},
        "props": {name: _properties(options, _PROPS) for name, options in sections.items()},
        "other_props": {name: _properties(options, _OTHER_PROPS) for name, options in sections.items()},
        "snapshots": {name: _text(options) for name, options in config.snapshots.items()},
        "special_sections": special,
        "dropped": [line._replace(text=_safe(line.text), reason=_safe(line.reason))._asdict() for line in config.dropped],
        "problem": problem or None,
        # Deprecated.
        "special-sections": special,
    }


def _safe(text: str) -> str:
    """The text with undecodable bytes as \\xNN, so that every JSON parser accepts it."""
    return text.encode("utf-8", "backslashreplace").decode() if not text.isascii() else text


def _text(options: Options) -> dict[str, object]:
    return {_safe(name): _safe(value) if isinstance(value, str) else value for name, value in options.items()}


def _properties(options: Options, wanted: re.Pattern[str]) -> dict[str, object]:
    """The property strings of the wanted options, each parsed, or with its error."""
    found: dict[str, object] = {}
    for name, value in options.items():
        if not wanted.fullmatch(name):
            continue
        try:
            found[name] = {"value": _text(propertystring.parse(name, str(value), propertystring.as_accepted))}
        except propertystring.PropertyError as error:
            found[name] = {"error": _safe(str(error))}
    return found


def _show(vmid: int | None, config: GuestConfig, problem: str) -> None:
    name = config.main.get("name", "")
    print(printable(f"{f'VM {vmid}' if vmid else 'config'}{f' ({name})' if name else ''}, digest {config.digest}"))
    if problem:
        print(printable(f"attention: {problem}"))
    _section("live", config.main)
    _section("pending: set", config.pending)
    if config.pending_delete:
        print("\npending: deleted")
        for option, forced in config.pending_delete.items():
            print(printable(f"  {option}{' (forced)' if forced else ''}"))
    for snapshot, options in config.snapshots.items():
        _section(f"snapshot {snapshot}", options)
    for special, options in config.special_sections.items():
        _section(f"special section {special}", options)
    if config.dropped:
        print("\nPVE will drop these lines at the next change")
        for line in config.dropped:
            where = f" in [{line.section}]" if line.section else ""
            print(printable(f"  line {line.line}{where}: {line.text}    ({line.reason})"))


def _section(title: str, options: Mapping[str, object]) -> None:
    if not options:
        return
    print(f"\n{printable(title)}")
    width = max(map(len, options))
    for name, value in options.items():
        for number, line in enumerate(str(value).split("\n")):
            print(printable(f"  {name if not number else '':<{width}}  {line}"))
