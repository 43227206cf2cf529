"""pvehooks capture: all that the rules read of this node, as a tree in a file, for bug reports and tests."""

from __future__ import annotations

import argparse
import secrets
import stat
import sys

from pvehooks.capture import archive, make
from pvehooks.cli import envelope, root
from pvehooks.errors import EXIT_OK, NodeError, UsageError
from pvehooks.facts.cluster import nodes as node_facts
from pvehooks.host import Host
from pvehooks.wording import counted, printable

SUMMARY = "save all that the rules read of this node in one file, for bug reports and tests"
EXAMPLE = "pvehooks capture pve1.tar.xz"
_KEY = 32
_MODE = 0o600
_PVE = "/etc/pve"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    parser.add_argument("file", metavar="FILE", help="the file to write (usually NAME.tar.xz); any verb reads it with --root FILE")
    parser.add_argument(
        "--plain",
        action="store_true",
        help="leave names, addresses and serial numbers as they are; keys, passwords and descriptions are never included",
    )
    parser.add_argument("--list", action="store_true", help="write nothing: show what is in the capture FILE")


def run(options: argparse.Namespace) -> int:
    """Writes a capture and verifies it, or lists one."""
    if options.list:
        if options.plain:
            raise UsageError("--plain is for writing a capture, --list for reading one")
        return _list(options)
    if options.capture:
        raise UsageError(f"{options.capture} is a capture already")
    host = root.host(options)
    if not host.is_dir("/"):
        raise NodeError(f"--root {options.root}: there is no such directory")
    node = node_facts.node_name(host, options.node)
    node_facts.require_own(host, node)
    place = _place(options.file)
    capture = make.made(make.look(options.root, node), options.plain, secrets.token_bytes(_KEY))
    content = make.packed(capture)
    Host().replace(place, content, mode=_MODE, durable=True, keep_mode=False)
    with archive.unpacked(place) as directory:
        differences = make.compared(capture, directory)
    _report(options, node, capture, len(content), differences)
    return EXIT_OK


def _place(file: str) -> str:
    """The path of the file; raises UsageError for a forbidden one, before anything is read."""
    here = Host()
    try:
        place = here.real_output(file)
    except OSError as error:
        raise NodeError(f"{file}: {error.strerror}") from error
    if place == _PVE or place.startswith(f"{_PVE}/"):
        raise UsageError(f"{file} is below {_PVE}, which every node of the cluster keeps in memory", hint=f"Example: {EXAMPLE}")
    try:
        if not stat.S_ISREG(here.owner_and_mode(place)[1]):
            raise UsageError(f"{file} exists and is not a regular file", hint=f"Example: {EXAMPLE}")
    except FileNotFoundError:
        if not here.is_dir(place.rpartition("/")[0] or "/"):
            raise NodeError(f"{file}: there is no such directory") from None
    return place


def _report(options: argparse.Namespace, node: str, capture: make.Made, size: int, differences: list[str]) -> None:
    files = sum(thing.kind == "file" for thing in capture.things.values())
    if options.json:
        troubles = list(capture.seen.troubles)
        content = {
            "file": options.file,
            "node_in_capture": capture.node,
            "plain": options.plain,
            "file_count": files,
            "bytes": size,
            "finding_count": len(capture.seen.findings),
            "troubles": [printable(each) for each in troubles],
            "differences": differences,
        }
        # "files" and "findings" are deprecated.
        envelope.show(Host(), node, {**content, "files": files, "findings": len(capture.seen.findings)})
        return
    names = "as they are" if options.plain else "replaced"
    print(printable(f"{options.file}: {counted(files, 'file')} of {node}, {size + 1023 >> 10} KiB packed"))
    print(f"names, addresses and serial numbers in it are {names}; keys, passwords, descriptions and comments are not included")
    print(printable(f"Check it before you send it: pvehooks capture --list {options.file}"))
    for difference in differences:
        print(printable(f"attention: {difference}; mention this in the bug report"), file=sys.stderr)


def _list(options: argparse.Namespace) -> int:
    members = list(archive.members(options.file))
    if options.json:
        entries = [
            {
                "path": printable(member.path),
                "kind": member.thing.kind,
                "size": len(member.thing.content or b""),
                "link_to": printable(member.thing.text) or None,
            }
            for member in members
        ]
        # "target" is deprecated.
        envelope.show(Host(), None, {"entries": [{**each, "target": each["link_to"]} for each in entries]})
        return EXIT_OK
    manifest = next((member.thing.content or b"" for member in members if member.path == archive.MANIFEST), b"")
    for line in manifest.decode("utf-8", "replace").partition("\n\n")[0].split("\n"):
        print(printable(line))
    for member in members:
        if member.thing.kind == "link":
            print(printable(f"     link {member.path} -> {member.thing.text}"))
        elif member.thing.kind == "file":
            print(printable(f"{len(member.thing.content or b''):9} {member.path}"))
    return EXIT_OK
