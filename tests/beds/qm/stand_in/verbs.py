"""What `qm set`, `config`, `pending`, `status` and `list` do and say (qemu-server: API2/Qemu.pm, CLI/qm.pm)."""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Callable

from config import Age, Config, encode_description
from formats import BOOLEANS, FAST_PLUG, STRINGS, Refused, boolean, check_value, is_option
from guests import Failed, Guests

SWITCHES = ("skiplock", "force", "current")
DIRECTIVES = ("delete", "revert", "digest", "background_delay")
PARAMETER_STATUS = errno.ENOENT
"""The exit status of most refusals: a leftover of errno, not to be relied on."""

Arguments = dict[str, str]


def invalid(verb: str, faults: dict[str, str], status: int = PARAMETER_STATUS) -> Failed:
    """400 Parameter verification failed, with a line for each parameter."""
    lines = "".join(f"{name}: {fault}\n" for name, fault in sorted(faults.items()))
    return Failed(f"400 Parameter verification failed.\n{lines}{_usage(verb)}", status)


def _usage(verb: str) -> str:
    return f"qm {verb} <vmid> [OPTIONS]"


def parse_arguments(verb: str, words: list[str]) -> tuple[str, Arguments]:
    """VMID and options, as Getopt::Long takes them: `--key value`, `-key=value`, switches without a value."""
    positional: list[str] = []
    options: Arguments = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-"):
            positional.append(word)
            continue
        key, equals, value = word.lstrip("-").partition("=")
        is_switch = key in SWITCHES or key in BOOLEANS
        if not (is_switch or key in DIRECTIVES or is_option(key)):
            raise _misused(verb, f"Unknown option: {key.lower()}\n400 unable to parse option")
        if not equals:
            value = "1" if is_switch and (not rest or rest[0].startswith("-")) else rest.pop(0) if rest else ""
        if is_switch:
            flag = boolean(value)
            if flag is None:
                raise _misused(verb, "400 unable to parse boolean option")
            value = flag
        options[key] = value
    if len(positional) != 1:
        raise _misused(verb, f"400 {'too many' if positional else 'not enough'} arguments")
    vmid = positional[0]
    if not vmid.isdecimal():
        raise invalid(verb, {"vmid": f"type check ('integer') failed - got '{vmid}'"})
    if not re.fullmatch(r"[1-9]\d{2,8}", vmid, re.ASCII):
        raise invalid(verb, {"vmid": "invalid format - value does not look like a valid VM ID\n"})
    return vmid, options


def _misused(verb: str, words: str) -> Failed:
    return Failed(f"{words}\n{_usage(verb)}", PARAMETER_STATUS)


def _words(text: str) -> list[str]:
    return re.split(r"[,;\s\0]+", text.strip()) if text.strip() else []


class SetCall:
    """One `qm set`."""

    def __init__(self, guests: Guests, vmid: str, arguments: Arguments, between: Callable[[], None]) -> None:
        self._guests = guests
        self._vmid = vmid
        self._between = between
        options = dict(arguments)
        self._digest = options.pop("digest", "")
        options.pop("background_delay", None)
        self._update = " ".join(f"-{key} {options[key]}" for key in sorted(options))
        self._skiplock = options.pop("skiplock", "0") == "1"
        self._force = "!" if options.pop("force", "0") == "1" else ""
        self._delete = ["ide2" if key == "cdrom" else key for key in _words(options.pop("delete", ""))]
        self._revert = _words(options.pop("revert", ""))
        self._changes = options
        self._verify()

    def _verify(self) -> None:
        faults: dict[str, str] = {}
        if len(self._digest) > 40:
            faults["digest"] = "value may only be 40 characters long"
        for key, value in self._changes.items():
            fault = self._fault(key, value)
            if fault:
                faults[key] = fault
        if faults:
            raise invalid("set", faults)
        if not (self._delete or self._revert or self._changes):
            raise Failed("no options specified", PARAMETER_STATUS)
        for key in self._delete + self._revert:
            verb, status = ("delete", 255) if key in self._delete else ("revert", PARAMETER_STATUS)
            if key in self._changes:
                fault = f"you can't use '-{key}' and -{verb} {key}' at the same time"
                raise invalid("set", {"delete": fault}, status)
            if not is_option(key):
                raise invalid("set", {verb: f"unknown option '{key}'"})
            if key in self._delete and key in self._revert:
                raise invalid("set", {"revert": f"you can't use '-delete {key}' and -revert {key}' at the same time"})
        if "hookscript" in self._changes:
            self._check_hookscript(self._changes["hookscript"])

    def _fault(self, key: str, value: str) -> str | None:
        try:
            self._changes[key] = check_value(key, value)
        except Refused as refused:
            first, _, faults = str(refused).partition("\n")
            if first.startswith("type check"):
                return first
            return f"invalid format - {first}\n" + "".join(f"{key}.{fault}\n" for fault in faults.split("\n") if fault)
        return None

    def _check_hookscript(self, volume: str) -> None:
        """PVE::GuestHelpers::check_hookscript, for directory storages."""
        storage, _, name = volume.partition(":")
        root = self._guests.pve.removesuffix("/etc/pve")
        directories = {"local": "/var/lib/vz"}
        try:
            with open(f"{self._guests.pve}/storage.cfg", encoding="utf-8") as file:
                directories.update(re.findall(r"^dir: (\S+)\n(?:\s+.*\n)*?\s+path (\S+)", file.read(), re.MULTILINE))
        except OSError:
            pass
        if storage not in directories:
            fault = f"storage '{storage}' does not exist\n"
        else:
            path = f"{root}{directories[storage]}/{name}"
            fault = ""
            if "/" not in name:
                fault = f"unable to parse directory volume name '{name}'\n"
            elif not name.startswith("snippets/"):
                fault = f"'{volume}' is not in the snippets directory\n"
            elif not os.path.isfile(path):
                fault = f"script '{volume}' does not exist\n"
            elif not os.access(path, os.X_OK):
                fault = f"script '{volume}' is not executable\n"
        if fault:
            raise invalid("set", {"hookscript": fault})

    def run(self) -> None:
        """Check, lock, check again, change."""
        self._load_checked()
        with self._guests.locked(self._vmid):
            config = self._load_checked()
            changes, deletes = dict(self._changes), list(self._delete)
            for key in self._revert:
                if key in config.main:
                    changes[key] = config.main[key]
                elif key in config.pending:
                    deletes.append(key)
            print(f"update VM {self._vmid}: {self._update}", flush=True)
            self._mark_deletes(deletes)
            self._mark_changes(changes)
            self._settle({*changes, *deletes})

    def _load_checked(self) -> Config:
        """The digest comes before the lock; an empty one is none."""
        config, digest = self._guests.load(self._vmid)
        if self._digest and self._digest != digest:
            raise Failed(f"checksum {'missmatch' if Age.is_old else 'mismatch'} (file change by other user?)", 255)
        if not self._skiplock and "lock" in config.main:
            raise Failed(f"VM is locked ({config.main['lock']})", 255)
        return config

    def _mark_deletes(self, keys: list[str]) -> None:
        for key in keys:
            config, _ = self._guests.load(self._vmid)
            if key not in config.main and key not in config.pending:
                sys.stderr.write(f"cannot delete '{key}' - not set in current configuration!\n")
                continue
            config.pending.pop(key, None)
            order = config.main.get("boot", "").removeprefix("order=").split(";")
            if key in order:
                kept = ";".join(device for device in order if device != key)
                config.pending["boot"] = f"order={kept}" if kept else ""
            config.set_pending_deletes({**config.pending_deletes(), key: self._force})
            self._guests.save(self._vmid, config)

    def _mark_changes(self, changes: Arguments) -> None:
        for key, value in changes.items():
            config, _ = self._guests.load(self._vmid)
            if config.pending.get(key) == value:
                continue
            config.pending[key] = self._as_stored(config, key, value)
            config.set_pending_deletes({name: mark for name, mark in config.pending_deletes().items() if name != key})
            self._guests.save(self._vmid, config)

    def _as_stored(self, config: Config, key: str, value: str) -> str:
        if key == "tags":
            return ";".join(sorted({tag.lower() for tag in _words(value)}))
        if key == "boot" and value.startswith("order="):
            for device in _words(value.removeprefix("order=")):
                if not (device in config.main or device in config.pending or device in self._changes):
                    raise Failed(f"invalid bootorder: device '{device}' does not exist'", 255)
        return value

    def _settle(self, touched: set[str]) -> None:
        """Drop what changes nothing, then apply: everything on a stopped guest, little on a running one."""
        self._between()
        config, _ = self._guests.load(self._vmid)
        if config.cleanup_pending():
            self._guests.save(self._vmid, config)
        if not config.pending:
            return
        running = self._guests.pid(self._vmid)
        applied = [key for key in config.pending if key != "delete" and (not running or key in FAST_PLUG)]
        deletes = config.pending_deletes()
        removed = [key for key in deletes if not running or (key in FAST_PLUG and key in touched)]
        for key in applied:
            config.main[key] = config.pending.pop(key)
        if running and applied:
            self._guests.save(self._vmid, config)
        for key in removed:
            config.main.pop(key, None)
        config.set_pending_deletes({key: mark for key, mark in deletes.items() if key not in removed})
        self._guests.save(self._vmid, config)


def show_config(guests: Guests, vmid: str, arguments: Arguments) -> None:
    """`qm config VMID [--current]`."""
    config, _ = guests.load(vmid)
    options = config.main if arguments.get("current") == "1" else config.with_pending()
    for key in sorted(options):
        value = encode_description(options[key]) if key == "description" else options[key]
        print(f"{key}: {'**********' if key == 'cipassword' else value}")


def show_pending(guests: Guests, vmid: str) -> None:
    """`qm pending VMID`."""
    config, _ = guests.load(vmid)
    deletes = config.pending_deletes()
    for key in sorted({*config.main, *config.pending} - {"delete"}):
        now, new = (options.get(key) for options in (config.main, config.pending))
        if key == "description":
            now, new = (encode_description(text) if text is not None else None for text in (now, new))
        if now is not None:
            print(f"{'del' if key in deletes else 'cur'} {key}: {now}")
        if new is not None and not (now is not None and key in deletes):
            print(f"new {key}: {new}")


def show_status(guests: Guests, vmid: str) -> None:
    """`qm status VMID`."""
    guests.load(vmid)
    print(f"status: {'running' if guests.pid(vmid) else 'stopped'}")


def show_list(guests: Guests) -> None:
    """`qm list`; without guests it says nothing."""
    vmids = guests.vmids()
    if vmids:
        print(f"{'VMID':>10} {'NAME':<20} {'STATUS':<10} {'MEM(MB)':<10} {'BOOTDISK(GB)':>12} {'PID':<10}")
    for vmid in vmids:
        config, _ = guests.load(vmid)
        pid = guests.pid(vmid)
        memory = config.main.get("memory", "512").removeprefix("current=").split(",")[0]
        name = config.main.get("name", f"VM {vmid}")
        print(f"{vmid:>10} {name:<20} {'running' if pid else 'stopped':<10} {memory:<10} {0:>12.2f} {pid:<10}")


def show_help(words: list[str]) -> None:
    """`qm help set --verbose 1`, with the lines that tell the options."""
    verb = words[0] if words else ""
    print(f"qm {verb} <vmid> [OPTIONS]\n\n  Set virtual machine options (synchronous API).\n")
    print("  <vmid>     <integer> (100 - 999999999)\n\n             The (unique) ID of the VM.\n")
    for key in sorted(STRINGS):
        print(f"  {'--' + key:<10} <string>\n\n             What it is for.\n")
