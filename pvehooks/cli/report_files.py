"""pvehooks report --from DIR: many nodes, by the captures and reports in a directory. Anyone may have made them."""

from __future__ import annotations

import argparse
import json
import stat
from collections.abc import Callable, Iterator, Mapping

from pvehooks import __version__
from pvehooks.capture import archive
from pvehooks.cli import next_boot
from pvehooks.cli.view import View, view
from pvehooks.errors import NodeError, PvehooksError
from pvehooks.facts.cluster import members
from pvehooks.host import Host
from pvehooks.report.fleet import Fleet, FleetNode, Skipped
from pvehooks.report.fleet_files import node_of, nodes_of

# A report on 5,000 VMs has some 10 MB.
_LARGEST = 32 << 20
_MOST_FILES = 500
_NEITHER = "neither a capture nor a report of pvehooks, or one of another version"
_XZ = b"\xfd7zXZ\0"

Look = Callable[[View], Mapping[str, object]]
"""The report on a node, as JSON."""


class _Foreign(Exception):
    """A file that cannot be used; the message says why."""


def gathered(options: argparse.Namespace, look: Look) -> Fleet:
    """The page; raises NodeError where the directory cannot be listed, or holds nothing that can be used."""
    here, directory = Host(), options.directory
    nodes: list[FleetNode] = []
    skipped: list[Skipped] = []
    for number, (folder, name) in enumerate(_files(here, directory)):
        source = f"{folder}/{name}" if folder else name
        try:
            if number >= _MOST_FILES:
                raise _Foreign(f"only the first {_MOST_FILES} files are read")
            nodes += _nodes(here, f"{directory}/{source}", source, folder, look)
        except PvehooksError as error:
            skipped.append(Skipped(source, error.message.replace(f"{directory}/", "")))
        except _Foreign as foreign:
            skipped.append(Skipped(source, str(foreign)))
        except OSError as error:
            skipped.append(Skipped(source, error.strerror or str(error)))
        except Exception as bug:  # noqa: BLE001 - one file must not keep the others from being seen
            skipped.append(Skipped(source, f"a bug of pvehooks: {bug!r}"[:300]))
    if not nodes:
        why = f": {skipped[0].file}: {skipped[0].why}" if skipped else ""
        raise NodeError(
            f"{directory} holds no capture and no report that can be used{why}",
            hint="Make them on the nodes: pvehooks capture FILE.tar.xz; or: pvehooks report --json >FILE.json",
        )
    skipped += _twice(nodes)
    nodes.sort(key=lambda node: (node.cluster, node.name, node.source))
    return Fleet(f"nodes in {directory}", __version__, "", int(here.now()), tuple(nodes), skipped=tuple(skipped))


def _files(here: Host, directory: str) -> Iterator[tuple[str, str]]:
    """(folder, name) of each file in the directory and in those below it."""
    try:
        names = here.names(directory)
    except OSError as error:
        raise NodeError(f"{directory}: {error.strerror}") from error
    for name in names:
        path = f"{directory}/{name}"
        if stat.S_ISDIR(here.attributes(path)[0]):
            yield from ((name, each) for each in here.names(path))
        else:
            yield "", name


def _nodes(here: Host, path: str, source: str, folder: str, look: Look) -> list[FleetNode]:
    kind = here.attributes(path)[0]
    if not stat.S_ISREG(kind):
        # A link may lead to anything, and a pipe may have no end.
        raise _Foreign("a symbolic link, which is not followed" if stat.S_ISLNK(kind) else "no regular file")
    try:
        if here.read(path, limit=len(_XZ)).startswith(_XZ):
            return [_of_capture(path, source, folder, look)]
        return _of_report(here.read(path, limit=_LARGEST), source, folder)
    except (TypeError, KeyError, ValueError, IndexError, AttributeError, OverflowError):
        raise _Foreign(_NEITHER) from None


def _of_report(raw: bytes, source: str, folder: str) -> list[FleetNode]:
    if len(raw) > _LARGEST:
        raise _Foreign(f"larger than {_LARGEST >> 20} MiB")
    try:
        return nodes_of(json.loads(raw), source, folder)
    except (ValueError, RecursionError):
        raise _Foreign(_NEITHER) from None


def _of_capture(path: str, source: str, folder: str, look: Look) -> FleetNode:
    with archive.unpacked(path) as directory:
        seen = view(argparse.Namespace(root=directory, capture=path, node=""), looking=True)
        document = look(seen)
        boot = next_boot.in_short(seen)
        version = members.version_of(seen.host, seen.node)
    # The document says which version made it: this one, now.
    return node_of(document, source, folder, "capture", boot)._replace(version=version)


def _twice(nodes: list[FleetNode]) -> Iterator[Skipped]:
    """A node that several files may be about: which of them are about the same one only their maker knows, so none is left out."""
    files: dict[tuple[str, str], list[str]] = {}
    for node in nodes:
        files.setdefault((node.cluster, node.name), []).append(node.source)
    for (cluster, name), sources in files.items():
        if len(sources) > 1:
            where = f"{name} of cluster {cluster}" if cluster else name
            yield Skipped(sources[-1], f"it is used, but {where} is in {', '.join(sources[:-1])} too: each is counted")
