"""The argument of --root: a directory with a tree, or a capture, which is unpacked while the verb runs."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager

from pvehooks.daemon import lock
from pvehooks.errors import NodeError
from pvehooks.facts.cluster import pmxcfs
from pvehooks.host import Host

# In the top directory of an unpacked capture. pvehooks.capture is imported for captures only.
_MARK = "/capture.json"
# Seconds for pmxcfs to answer; it takes milliseconds.
_PATIENCE = 3.0


@contextmanager
def unpacked(options: argparse.Namespace) -> Iterator[None]:
    """Unpacks a capture while the verb runs: `options.root` is then a directory, `options.capture` the capture; raises NodeError."""
    options.capture = ""
    if not Host().is_dir(options.root):
        from pvehooks.capture import archive

        if archive.is_packed(options.root):
            with archive.unpacked(options.root) as directory:
                options.capture, options.root = options.root, directory
                yield
            return
    yield


def host(options: argparse.Namespace, asks_pmxcfs: bool = True) -> Host:
    """This node, the tree, or the capture; raises NodeError for a damaged capture.

    On a node it raises NodeError where pmxcfs hangs, too: a process that `asks_pmxcfs` would hang with it, say nothing, and could not be ended.
    """
    if options.root == "/":
        here = Host()
        if asks_pmxcfs and not pmxcfs.answers(here, _PATIENCE):
            what, remedy = pmxcfs.hanging(here)
            daemon = "running" if lock.runs(here) else "not running"
            raise NodeError(f"pmxcfs hangs: {what}. The daemon is {daemon}; VMs can be neither started nor changed", hint=remedy)
        return here
    tree = Host(options.root)
    if not tree.exists(_MARK):
        return tree
    from pvehooks.capture.replay import host_at

    return host_at(options.root, options.capture)
