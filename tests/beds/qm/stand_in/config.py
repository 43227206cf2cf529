"""Reading and rewriting a guest's config as qm does it (qemu-server: parse_vm_config, write_vm_config).

Everything is text in latin-1, so that bytes come out as they went in; only the description is decoded.
"""

from __future__ import annotations

import re
from urllib.parse import quote, unquote_to_bytes

from formats import DRIVE, Refused, check_value

Options = dict[str, str]


class Age:
    """Whether it is qemu-server 8.2, which knows nothing of unknown sections, of those that come twice, and of options with a minus sign."""

    is_old = False


SAFE_IN_DESCRIPTION = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) not in "%:")
SPECIAL_SECTIONS = ("cloudinit", "fleecing")
OLD_SECTIONS = re.compile(r"special:cloudinit|[a-z][a-z0-9_\-]+", re.IGNORECASE | re.ASCII)
CLOUDINIT_DRIVE = re.compile(r"[:/](?:vm-\d+-)?cloudinit(?:\.(?:raw|qcow2|vmdk|cow|qed|cloop|subvol))?$")


def encode_description(text: str) -> str:
    """PVE::Tools::encode_text."""
    return quote(text, safe=SAFE_IN_DESCRIPTION + "%" * Age.is_old, encoding="utf-8", errors="surrogateescape")


def decode_description(text: str) -> str:
    """PVE::Tools::decode_text, on a line read as latin-1."""
    return unquote_to_bytes(text.encode("latin-1")).decode("utf-8", "replace")


class Config:
    """A parsed config: what PVE keeps of it. `warnings` are its words about the rest."""

    def __init__(self, vmid: str) -> None:
        self.vmid = vmid
        self.main: Options = {}
        self.pending: Options = {}
        self.special: dict[str, Options] = {}
        self.snapshots: dict[str, Options] = {}
        self.warnings: list[str] = []
        self.has_pending_section = False

    def warn(self, text: str) -> None:
        """Remember a warning."""
        self.warnings.append(f"vm {self.vmid} - {text}")

    # --- pending deletes ---

    def pending_deletes(self) -> dict[str, str]:
        """Option -> '!' or '', as `delete:` in [PENDING] lists them."""
        words = re.sub("[,;]", " ", self.pending.get("delete", "")).split()
        return {word.lstrip("!"): "!" if word.startswith("!") else "" for word in words}

    def set_pending_deletes(self, deletes: dict[str, str]) -> None:
        """Store them back, sorted."""
        if deletes:
            self.pending["delete"] = ",".join(deletes[key] + key for key in sorted(deletes))
        else:
            self.pending.pop("delete", None)

    def cleanup_pending(self) -> bool:
        """Drop pending changes that change nothing; whether there were any."""
        before = dict(self.pending)
        for key, value in before.items():
            if key != "delete" and self.main.get(key) == value:
                del self.pending[key]
        self.set_pending_deletes({key: force for key, force in self.pending_deletes().items() if key in self.main})
        return self.pending != before

    def with_pending(self) -> Options:
        """The options once all pending changes are applied."""
        changed = {key: value for key, value in self.pending.items() if key != "delete"}
        deletes = self.pending_deletes()
        return {key: value for key, value in {**self.main, **changed}.items() if key not in deletes}


class _Section:
    def __init__(self, kind: str, name: str, options: Options) -> None:
        self.kind = kind
        self.name = name
        self.options = options
        self.description: str | None = None


def parse(raw: bytes, vmid: str) -> Config:
    """Read a config; never fails."""
    config = Config(vmid)
    section: _Section | None = _Section("main", "", config.main)

    def finish() -> None:
        if section is not None and section.description is not None:
            section.options["description"] = section.description.rstrip(" \t\n\r\f\v")

    for line in raw.decode("latin-1").split("\n"):
        if not line.strip(" \t\n\r\f\v"):
            continue
        header = re.fullmatch(r"\[([^\]]*)\]\s*", line, re.ASCII)
        if header and not (Age.is_old and not OLD_SECTIONS.fullmatch(header[1])):
            finish()
            section = _open_section(config, header[1])
        elif section is not None:
            _read_line(config, section, line)
    finish()
    config.main.pop("snapstate", None)
    return config


def _open_section(config: Config, name: str) -> _Section | None:
    special = re.fullmatch(f"special:({'|'.join(SPECIAL_SECTIONS)})", name, re.IGNORECASE)
    if name.lower() == "pending":
        if config.has_pending_section and not Age.is_old:
            config.warn("duplicate section: pending")
        config.has_pending_section = True
        config.pending = {}
        return _Section("pending", "pending", config.pending)
    if special:
        key = special[1]
        if key in config.special and not Age.is_old:
            config.warn(f"duplicate special section: {key}")
        config.special[key] = {}
        return _Section("special", key, config.special[key])
    if re.fullmatch(r"[a-z][a-z0-9_\-]+", name, re.IGNORECASE | re.ASCII):
        if name in config.snapshots and not Age.is_old:
            config.warn(f"duplicate snapshot section: {name}")
        config.snapshots[name] = {}
        return _Section("snapshot", name, config.snapshots[name])
    config.warn(f"skipping unknown section: '{name}'")
    return None


def _read_line(config: Config, section: _Section, line: str) -> None:
    """One line, by the first pattern that fits: the order is PVE's."""
    options = section.options
    if line.startswith("#"):
        section.description = (section.description or "") + decode_description(line[1:]) + "\n"
    elif match := re.fullmatch(r"description:\s*(.*\S)\s*", line, re.ASCII):
        section.description = (section.description or "") + decode_description(match[1])
    elif match := re.search(r"snapstate:\s*(prepare|delete)\s*$", line, re.ASCII):
        options["snapstate"] = match[1]
    elif match := re.fullmatch(r"args:\s*(.*\S)\s*", line, re.ASCII):
        options["args"] = match[1]
    elif match := re.fullmatch(r"delete:\s*(.*\S)\s*", line, re.ASCII):
        if section.kind == "pending":
            options["delete"] = match[1]
        else:
            config.warn("property 'delete' is only allowed in [PENDING]")
    elif match := re.fullmatch(rf"([a-z][a-z_{'' if Age.is_old else '-'}]*\d*):\s*(.+?)\s*", line, re.ASCII):
        _read_option(config, section, match[1], match[2])
    else:
        config.warn(f"unable to parse config: {line}")


def _read_option(config: Config, section: _Section, key: str, value: str) -> None:
    if section.kind == "special":
        if section.name == "cloudinit" or key == "fleecing-images":
            section.options[key] = value
        else:
            config.warn(f"unable to parse value of '{key}' - unknown setting '{key}'")
        return
    try:
        section.options["ide2" if key == "cdrom" else key] = check_value(key, value)
    except Refused as refused:
        config.warn(f"unable to parse value of '{key}' - {refused}")


def write(config: Config) -> bytes:
    """The whole file anew."""
    main = config.main
    if main.get("sockets", "0") != "0":
        main.pop("smp", None)
    elif main.get("smp", "0") != "0":
        main["sockets"] = main.pop("smp")
        main.pop("cores", None)
    used = {
        value.split(",")[0].removeprefix("file=")
        for options in (main, config.pending)
        for key, value in options.items()
        if DRIVE.fullmatch(key)
    }
    for key in [key for key, value in main.items() if key.startswith("unused") and value in used]:
        del main[key]
    text = _lines(main)
    if config.pending:
        text += "\n[PENDING]\n" + _lines(config.pending, pending=True)
    for name in sorted(config.special):
        if name != "cloudinit" or _has_cloudinit(main):
            text += f"\n[special:{name}]\n" + _lines(config.special[name])
    for name in sorted(config.snapshots):
        text += f"\n[{name}]\n" + _lines(config.snapshots[name])
    return text.encode("latin-1")


def _lines(options: Options, pending: bool = False) -> str:
    text = ""
    description = options.get("description")
    if description:
        text = "".join(f"#{encode_description(line)}\n" for line in re.sub(r"\n+$", "", description).split("\n"))
    elif description is not None and pending:
        text = "#\n"
    return text + "".join(f"{key}: {options[key]}\n" for key in sorted(options) if key != "description")


def _has_cloudinit(options: Options) -> bool:
    return any(DRIVE.fullmatch(key) and CLOUDINIT_DRIVE.search(value.split(",")[0]) for key, value in options.items())
