"""Commands that change a hostpciN and keep all that it says beside."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from pvehooks.values import Guest, HostPci


def command(guest: Guest, entry: HostPci, addresses: Mapping[str, str] | None = None, without: Collection[str] = (), **changed: str) -> str:
    """The qm command that writes the option anew: `addresses` old -> new, properties left out, properties with another value."""
    parts = str(guest.options.get(entry.option, "")).split(",")
    kept = []
    for part in parts:
        key, equals, value = part.partition("=")
        if equals and key in without:
            continue
        if not equals or key == "host":
            value = ";".join(_moved(each, addresses or {}) for each in (value if equals else key).split(";"))
            part = f"{key}={value}" if equals else value
        elif key in changed:
            part = f"{key}={changed[key]}"
        kept.append(part)
    return f"qm set {guest.vmid} --{entry.option} {for_shell(','.join(kept))}"


def _moved(written: str, addresses: Mapping[str, str]) -> str:
    """The address as it is now, in the form in which it is written: with or without domain and function."""
    whole = written if written.count(":") == 2 else f"0000:{written}"
    for old, new in addresses.items():
        if old == whole:
            moved = new
        elif "." not in whole and old.startswith(f"{whole}."):
            moved = new.rpartition(".")[0] or new
        else:
            continue
        return moved.removeprefix("0000:") if written.count(":") == 1 else moved
    return written


def for_shell(text: str) -> str:
    """A property string as one word of a shell command; addresses are joined by semicolons."""
    return text if re.fullmatch(r"[A-Za-z0-9_@%+=:,./-]+", text) else "'" + text.replace("'", "'\\''") + "'"


def giving_up(guest: Guest, entry: HostPci) -> str:
    """How to take the device from the guest, as the end of a sentence."""
    if entry.by_args:
        return f"take its -device out of the args, which this shows: qm config {guest.vmid}"
    return f"take the device from the VM: qm set {guest.vmid} --delete {entry.option}"
