"""The nodes of the cluster by their directories in /etc/pve: their names, and the config files of their guests."""

from __future__ import annotations

import os

from pvehooks.errors import GuestNotHere, NodeError, UsageError
from pvehooks.host import Host

NODES = "/etc/pve/nodes"


def node_name(host: Host, asked: str = "") -> str:
    """The node to look at: the one asked for, else what /etc/pve/local names, the host name, or the tree's only node.

    Raises NodeError when there is none, UsageError when the one asked for is not there.
    """
    there = node_names(host)
    if asked:
        if asked in there or (host.is_node and not there):
            return asked
        raise NodeError(f"there is no node '{asked}' in {NODES}", hint=f"Nodes there: {', '.join(there) or 'none'}.")
    if host.is_node:
        return _local_link(host) or os.uname().nodename.split(".")[0]
    if not there:
        raise NodeError(
            f"{host.root} is not a tree of a Proxmox VE node: it has no {NODES[1:]}/NODE",
            hint="Give --root a directory that holds etc/pve.",
        )
    for guess in (_local_link, _host_name):
        name = guess(host)
        if name in there:
            return name
    if len(there) == 1:
        return there[0]
    raise UsageError(f"{host.root} holds several nodes ({', '.join(there)})", hint="Say which one: --node NAME.")


def is_another(host: Host, name: str) -> bool:
    """Whether the name is that of another node than the one that this is, or that the tree was taken from."""
    return _local_link(host) not in ("", name)


def require_own(host: Host, name: str) -> None:
    """Raises NodeError where a guest of another node would be changed, or cared for, from here."""
    if host.is_node and is_another(host, name):
        raise NodeError(f"{name} is another node: its VMs are changed there", hint=f"Run this on {name}.")


def _local_link(host: Host) -> str:
    try:
        return host.link_name("/etc/pve/local")
    except OSError:
        return ""


def _host_name(host: Host) -> str:
    try:
        return host.read_text("/etc/hostname").split(".")[0]
    except OSError:
        return ""


def node_names(host: Host) -> list[str]:
    """The names of the cluster's nodes that have a directory in /etc/pve."""
    try:
        return [name for name in host.names(NODES) if host.is_dir(f"{NODES}/{name}")]
    except OSError:
        return []


def guest_dir(node: str) -> str:
    """The directory of a node's VM configs."""
    return f"{NODES}/{node}/qemu-server"


def config_path(node: str, vmid: int) -> str:
    """The config file of a VM."""
    return f"{guest_dir(node)}/{vmid}.conf"


def vmid_of(file_name: str) -> int | None:
    """The VMID whose config has this file name; None for all other files (PVE's temporary files, FUSE's hidden ones)."""
    number, _, ending = file_name.partition(".")
    # Of three to nine digits, as in PVE's own pattern. A node has thousands of names, and a regular expression takes thrice the time.
    is_vmid = ending == "conf" and 3 <= len(number) <= 9 and number[0] != "0" and number.isascii() and number.isdecimal()
    return int(number) if is_vmid else None


def guest_ids(host: Host, node: str) -> list[int]:
    """The VMIDs of a node's guests, by its directory; raises OSError."""
    return sorted(vmid for name in host.names(guest_dir(node)) if (vmid := vmid_of(name)) is not None)


def guest_ids_or_none(host: Host, node: str) -> list[int]:
    """The same, and no VMIDs where the directory cannot be listed."""
    try:
        return guest_ids(host, node)
    except OSError:
        return []


def owner(host: Host, vmid: int) -> str:
    """The node whose directory holds the VM's config, '' if none does."""
    return next((name for name in node_names(host) if host.exists(config_path(name, vmid))), "")


def require_guest(host: Host, node: str, vmid: int) -> None:
    """Raises GuestNotHere, naming the node that has the guest if one does."""
    if host.exists(config_path(node, vmid)):
        return
    elsewhere = owner(host, vmid)
    if elsewhere:
        raise GuestNotHere(f"VM {vmid} is on node {elsewhere}, not on {node}", hint=f"Run this on {elsewhere}.")
    if host.exists(f"{NODES}/{node}/lxc/{vmid}.conf"):
        raise GuestNotHere(f"{vmid} is a container, not a VM", hint="Containers need none of this.")
    raise GuestNotHere(f"there is no VM {vmid} on {node}, nor on any other node", hint="List them: qm list")
