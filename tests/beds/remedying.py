"""Applies what a remedy has a person type to a tree: stand-ins for qm, pct, pvesh, pvesm and ha-manager, and pvehooks itself.

`UNFIT` are the programs whose effect a tree does not show, with the reason.
"""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

from tests.beds import commandline
from tests.beds.qm import Qm

NODE = "pve1"
_PVE = "etc/pve"

UNFIT = {
    "apt": "packages are not in a tree",
    "cryptsetup": "changes devices of a running kernel",
    "efibootmgr": "shows something, and changes nothing",
    "findmnt": "shows something, and changes nothing",
    "ifreload": "changes the network of a running kernel",
    "ifup": "changes the network of a running kernel",
    "iconv": "converts what is typed into it",
    "ip": "shows something, and changes nothing",
    "journalctl": "shows something, and changes nothing",
    "kill": "stops processes",
    "less": "shows something, and changes nothing",
    "ls": "shows something, and changes nothing",
    "lsusb": "shows something, and changes nothing",
    "mdadm": "changes devices of a running kernel",
    "mokutil": "writes a request into the firmware",
    "proxmox-boot-tool": "writes a boot loader's files from packages",
    "pvecm": "shows something, and changes nothing",
    "swapoff": "changes devices of a running kernel",
    "systemctl": "starts and stops processes",
    "targetcli": "changes devices of a running kernel",
    "umount": "changes devices of a running kernel",
    "update-grub": "writes a boot loader's files from packages",
    "update-initramfs": "writes an initramfs from packages",
    "vgchange": "changes devices of a running kernel",
}
# Of programs that are stood in for: verbs that show something, and others that a tree does not show.
UNFIT_VERBS = {
    ("pvehooks", "backups"): "shows something, and changes nothing",
    ("pvehooks", "check"): "shows something, and changes nothing",
    ("pvehooks", "config"): "shows something, and changes nothing",
    ("pvehooks", "bind"): "changes drivers of a running kernel",
    ("pvehooks", "firmware import"): "needs an image, which is the administrator's",
    ("pvehooks", "firmware set"): "needs an image, which is the administrator's",
    ("pvehooks", "guest"): "shows something, and changes nothing",
    ("pvehooks", "inject --all"): "is for all guests, and leaves out those that have to be named",
    ("pvesm", "list"): "shows something, and changes nothing",
    ("pvesm", "status"): "shows something, and changes nothing",
    ("pvesh", "get"): "shows something, and changes nothing",
    ("pvesh", "set /cluster/sdn"): "changes the network of a running kernel",
    ("pvehooks", "unbind"): "changes drivers of a running kernel",
    ("qm", "config"): "shows something, and changes nothing",
    ("qm", "snapshot"): "is another way to do what the finding is about",
}


def unfit(command: str) -> str:
    """Why a command cannot be run on a tree, '' where it can."""
    words = command.split()
    for program, verb in UNFIT_VERBS:
        if command.startswith(f"{program} {verb}"):
            return UNFIT_VERBS[program, verb]
    if " && " in command:
        return "; ".join(filter(None, map(unfit, command.split(" && "))))
    if words[0] in ("reboot", "poweroff"):
        return "needs a kernel"
    return UNFIT.get(words[0], "")


class Typist:
    """Types commands at a node that is a tree."""

    def __init__(self, tree: Path, beside: Path) -> None:
        self.tree = tree
        self._qm = Qm(beside / "qm", root=str(tree))

    def type(self, command: str) -> None:
        """Runs a command, or several with && between them; AssertionError where one is refused or unknown."""
        for each in command.split(" && "):
            self._type(each)

    def _type(self, command: str) -> None:
        line, append, file = re.fullmatch(r"(.*?)(?: (>>?) (\S+))?", command).groups()  # type: ignore[union-attr]
        program, *words = shlex.split(line)
        if append:
            assert program == "echo", command
            self._write(file, " ".join(words) + "\n", append == ">>")
            return
        stand_in: dict[str, Callable[[list[str]], None]] = {
            "qm": self._run_qm,
            "pct": self._run_pct,
            "pvesh": self._run_pvesh,
            "pvesm": self._run_pvesm,
            "ha-manager": self._run_ha,
            "pvehooks": self._run_pvehooks,
            "rm": self._run_rm,
        }
        assert program in stand_in, f"{command}: nothing stands in for {program}: add it to {__name__}, or to UNFIT with its reason"
        stand_in[program](words)

    def _write(self, file: str, text: str, append: bool) -> None:
        path = self.tree / file.lstrip("/")
        path.write_text((path.read_text() if append else "") + text)

    def _run_rm(self, words: list[str]) -> None:
        for each in words:
            (self.tree / each.lstrip("/")).unlink()

    def _run_pvehooks(self, words: list[str]) -> None:
        ended = commandline.pvehooks(*words, "--root", str(self.tree), "--node", NODE)
        assert ended.status == 0, f"pvehooks {' '.join(words)}: {ended.output}"

    # -- guests -------------------------------------------------------------------------------------------------------

    def _config(self, vmid: str) -> Path:
        return next((self.tree / _PVE / "nodes").glob(f"*/qemu-server/{vmid}.conf"))

    def _run_qm(self, words: list[str]) -> None:
        verb, *rest = words
        if verb == "set":
            local = self.tree / _PVE / "local"
            if not local.is_symlink():
                local.symlink_to(f"nodes/{self._config(rest[0]).parts[-3]}")
            done = self._qm.run("set", *self._with_volumes(rest))
            assert done.returncode == 0, f"qm {' '.join(words)}: {done.stderr}{done.stdout}"
            self._restart(rest[0])
        elif verb == "shutdown":
            self._stop(rest[0])
        elif verb == "unlock":
            self._edit(rest[0], lambda text: re.sub(r"^lock: .*\n", "", text, flags=re.MULTILINE))
        elif verb == "enroll-efi-keys":
            self._edit(rest[0], lambda text: re.sub(r"^(efidisk0: .*?)(?:,ms-cert=\w+)?$", r"\1,ms-cert=2023k", text, flags=re.MULTILINE))
        elif (verb, rest[0]) == ("disk", "move"):
            _, vmid, option, storage = rest
            self._edit(vmid, lambda text: re.sub(rf"^({option}: )[^:]+:", rf"\1{storage}:", text, flags=re.MULTILINE))
        else:
            raise AssertionError(f"qm {' '.join(words)}: nothing stands in for it")

    def _with_volumes(self, words: list[str]) -> list[str]:
        """The same with the name of a volume where one of so many GiB is to be made (qemu-server, API2/Qemu.pm, create_disks).

        The certificates of a new EFI disk are noted (QemuServer/OVMF.pm).
        """
        made = [re.sub(r"\A(?:file=)?([a-z][\w-]+):(\d+)(?=,|\Z)", rf"\1:vm-{words[0]}-disk-9", word) for word in words]
        return [f"{word},ms-cert=2023k" if "-disk-9" in word and "pre-enrolled-keys=1" in word else word for word in made]

    def _edit(self, vmid: str, change: Callable[[str], str]) -> None:
        path = self._config(vmid)
        before = path.read_text()
        path.write_text(change(before))
        assert path.read_text() != before, f"{vmid}.conf: nothing to change"

    def _stop(self, vmid: str) -> None:
        pid = self.tree / f"run/qemu-server/{vmid}.pid"
        shutil.rmtree(self.tree / "proc" / pid.read_text().strip(), ignore_errors=True)
        pid.unlink()

    def _restart(self, vmid: str) -> None:
        """What is pending comes into force when the guest is started again."""
        path = self._config(vmid)
        text = path.read_text()
        match = re.search(r"^\[PENDING\]\n(.*?)(?=^\[|\Z)", text, re.MULTILINE | re.DOTALL)
        if not match:
            return
        lines = dict(line.split(": ", 1) for line in text[: match.start()].splitlines() if ": " in line)
        pending = dict(line.split(": ", 1) for line in match[1].splitlines() if ": " in line)
        for name in pending.pop("delete", "").replace("!", "").split(","):
            lines.pop(name, None)
        lines |= pending
        path.write_text("".join(f"{name}: {value}\n" for name, value in lines.items()) + text[match.end() :])

    def _run_pct(self, words: list[str]) -> None:
        assert words[0] == "shutdown", words
        sockets = self.tree / "proc/net/unix"
        sockets.write_text("".join(line for line in sockets.read_text().splitlines(True) if f"/lxc/{words[1]}/" not in line))
        for path in self.tree.glob("proc/[0-9]*"):
            group = path / "cgroup"
            if group.exists() and f"lxc/{words[1]}/" in f"{group.read_text().strip()}/":
                shutil.rmtree(path)

    # -- the cluster --------------------------------------------------------------------------------------------------

    def _run_pvesh(self, words: list[str]) -> None:
        verb, path, *options = words
        kind, name = path.removeprefix("/cluster/mapping/").split("/")
        assert verb == "set" and kind in ("pci", "usb", "dir"), words
        file = {"pci": "pci.cfg", "usb": "usb.cfg", "dir": "directory.cfg"}[kind]
        self._edit_section(f"mapping/{file}", name, _pairs(options), repeated=("map",))

    def _run_pvesm(self, words: list[str]) -> None:
        verb, name, *options = words
        assert verb == "set", words
        self._edit_section("storage.cfg", name, _pairs(options))

    def _run_ha(self, words: list[str]) -> None:
        if words[0] == "remove":
            self._drop_section("ha/resources.cfg", words[1].removeprefix("vm:"))
        elif words[0] == "set":
            self._edit_section("ha/resources.cfg", words[1].removeprefix("vm:"), _pairs(words[2:]))
        elif words[0] == "groupset":
            self._edit_section("ha/groups.cfg", words[1], _pairs(words[2:]))
        elif words[:2] == ["rules", "set"]:
            self._edit_section("ha/rules.cfg", words[3], _pairs(words[4:]))
        elif words[:2] == ["rules", "add"]:
            lines = "".join(f"\t{key} {value}\n" for key, value in _pairs(words[4:]))
            path = self.tree / _PVE / "ha/rules.cfg"
            path.write_text((path.read_text() if path.exists() else "") + f"\n{words[2]}: {words[3]}\n{lines}")
        else:
            raise AssertionError(f"ha-manager {' '.join(words)}: nothing stands in for it")

    def _sections(self, file: str) -> list[str]:
        return re.split(r"\n\n+", (self.tree / _PVE / file).read_text().strip("\n"))

    def _store(self, file: str, sections: list[str]) -> None:
        (self.tree / _PVE / file).write_text("\n\n".join(sections) + "\n")

    def _edit_section(self, file: str, name: str, pairs: list[tuple[str, str]], repeated: tuple[str, ...] = ()) -> None:
        sections = self._sections(file)
        (at,) = (number for number, each in enumerate(sections) if each.split("\n")[0].rstrip().split(": ")[-1] == name)
        head, *lines = sections[at].split("\n")
        gone = {key for key, _ in pairs} | {value for key, value in pairs if key == "delete"}
        kept = [line for line in lines if line.split()[0] not in gone]
        added = [f"\t{key} {value}" for key, value in pairs if key != "delete"]
        assert repeated or len({key for key, _ in pairs}) == len(pairs), pairs
        sections[at] = "\n".join((head, *kept, *added))
        self._store(file, sections)

    def _drop_section(self, file: str, name: str) -> None:
        sections = self._sections(file)
        left = [each for each in sections if each.split("\n")[0].rstrip().split(": ")[-1] != name]
        assert len(left) < len(sections), f"{file} has no {name}"
        self._store(file, left)


def _pairs(options: list[str]) -> list[tuple[str, str]]:
    assert all(option.startswith("--") for option in options[::2]), options
    return [(name.removeprefix("--"), value) for name, value in zip(options[::2], options[1::2], strict=True)]
