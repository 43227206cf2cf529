"""What PVE reads from a config but leaves out, or changes, when it writes it again: write_vm_config in PVE/QemuServer.pm."""

from pvehooks.formats.reader import ConfigSection, Reading
from pvehooks.formats.volumes import drives, is_cloudinit
from pvehooks.values import Dropped

_NEVER_WRITTEN = ("digest", "pending", "snapshots", "special-sections")


def note_losses(reading: Reading) -> None:
    """Adds to `reading.dropped`."""
    main = reading.main.values
    if "snapstate" in main:
        _note(reading, reading.main, "snapstate", "PVE removes 'snapstate' outside snapshots")
    if "smp" in main:
        _note_smp(reading)
    if "\nunused" in reading.text or reading.text.startswith("unused"):
        _note_unused(reading)
    for section in (reading.main, reading.pending, *reading.snapshots.values(), *reading.specials.values()):
        if section is not None and section.values.get("description") == "0":
            _note(reading, section, "description", "PVE does not write a description that is just '0'")
    cloudinit = reading.specials.get("cloudinit")
    if cloudinit is not None:
        _note_cloudinit(reading, cloudinit)


def _note(reading: Reading, section: ConfigSection, option: str, reason: str) -> None:
    number = section.at[option]
    reading.dropped.setdefault(number, Dropped(number, section.label, reading.lines[number - 1], reason))


def _note_smp(reading: Reading) -> None:
    main = reading.main
    if main.values.get("sockets"):
        _note(reading, main, "smp", "PVE removes 'smp' where there is 'sockets'")
        return
    if main.values["smp"] == 0:
        return
    _note(reading, main, "smp", "PVE rewrites 'smp' as 'sockets'")
    if "cores" in main.values:
        _note(reading, main, "cores", "PVE removes 'cores' where there is 'smp' and no 'sockets'")


def _note_unused(reading: Reading) -> None:
    in_use = {}
    for section in (reading.pending, reading.main):
        if section is not None:
            in_use.update({str(parts.get("file")): option for option, parts in drives(section.values)})
    for option, value in reading.main.values.items():
        if option.startswith("unused") and value in in_use:
            _note(reading, reading.main, option, f"PVE removes '{option}': its volume is in use as '{in_use[str(value)]}'")


def _note_cloudinit(reading: Reading, section: ConfigSection) -> None:
    if not any(is_cloudinit(parts) for _, parts in drives(reading.main.values)):
        for option in section.values:
            _note(reading, section, option, "PVE removes [special:cloudinit] where there is no cloud-init drive")
        return
    for option in _NEVER_WRITTEN:
        if option in section.values:
            _note(reading, section, option, f"PVE does not write '{option}'")
