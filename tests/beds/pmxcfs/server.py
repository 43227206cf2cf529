"""The process: mounts, answers the control socket, unmounts at SIGTERM."""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import sys
import threading
from pathlib import Path

os.environ.setdefault("FUSE_LIBRARY_PATH", "libfuse.so.2")  # spares fusepy a search with ldconfig and gcc

from .filesystem import ENCODING, Filesystem
from .node import Node
from .store import Store
from .wire import listen

MNT_FORCE = 1  # linux/fs.h


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python3 -m tests.beds.pmxcfs", description=__doc__)
    parser.add_argument("mountpoint", type=Path)
    parser.add_argument("--node", default="pve1", help="the name of the node this mount belongs to")
    parser.add_argument("--db-dir", type=Path, default=Path("/var/lib/pve-cluster"))
    parser.add_argument("--control", required=True, metavar="SOCKET", help="where to take commands (see node.py)")
    parser.add_argument("--member", action="append", default=[], metavar="NODE", help="a node of the cluster")
    parser.add_argument("--join", action="append", default=[], metavar="NODE=SOCKET", help="replicate with this one")
    parser.add_argument("--stop-delay", type=float, default=0.0, help="seconds a clean stop blocks all accesses")
    parser.add_argument("--leash", action="store_true", help="end when standard input does")
    return parser.parse_args(argv)


def _stop_at_sigterm(node: Node, delay: float) -> None:
    """SIGTERM closes the gate, then ends libfuse's loop by a signal that libfuse handles."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    loop = threading.main_thread()

    def wait() -> None:
        signal.sigwait({signal.SIGTERM})
        node.stop_accepting(delay)
        while loop.is_alive():
            signal.pthread_kill(loop.ident or 0, signal.SIGHUP)
            loop.join(0.05)

    threading.Thread(target=wait, daemon=True).start()


def _die_with_driver(mountpoint: Path) -> None:
    """A driver killed with SIGKILL must leave neither a process nor a mount behind."""

    def wait() -> None:
        while os.read(0, 1):
            pass
        ctypes.CDLL(None).umount2(os.fsencode(mountpoint), 2)
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()


def main(argv: list[str]) -> int:
    """Serve until SIGTERM."""
    import fusepy

    arguments = _arguments(argv)
    os.chdir("/")
    store = Store(arguments.db_dir)
    node = Node(arguments.node, store, arguments.control, arguments.member)
    peers = dict(peer.split("=", 1) for peer in arguments.join)
    for name in {arguments.node, *arguments.member}:
        for directory in ("qemu-server", "lxc", "priv"):
            store.make_parents(f"nodes/{name}/{directory}")
    for directory in ("mapping", "priv/lock", "virtual-guest"):
        store.make_parents(directory)
    _stop_at_sigterm(node, arguments.stop_delay)
    if arguments.leash:
        _die_with_driver(arguments.mountpoint)

    def mounted() -> None:
        Path(arguments.control).unlink(missing_ok=True)
        listen(arguments.control, node.commands())

    node.join(peers)
    # As the original does: a mount of a dead predecessor is taken away, if nobody uses it.
    ctypes.CDLL(None).umount2(os.fsencode(arguments.mountpoint), MNT_FORCE)
    options = {"default_permissions": True, "allow_other": True, "big_writes": True, "direct_io": True}
    try:
        fusepy.FUSE(
            Filesystem(node, mounted),
            os.fsencode(arguments.mountpoint).decode(ENCODING),
            foreground=True,
            nothreads=True,
            fsname="/dev/fuse",
            encoding=ENCODING,
            **options,
        )
    except RuntimeError:
        print("fuse_mount error", file=sys.stderr)
        return 255
    finally:
        store.close()
    return 0
