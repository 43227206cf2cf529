"""The edits behind the fixes of settings without effect, and of what the boot does with devices of guests; as in edits.py."""

from __future__ import annotations

import re

from pvehooks.actions.host import edits, texts
from pvehooks.actions.host.draft import Draft
from pvehooks.actions.host.texts import ByHand
from pvehooks.derived.argument_mistakes import mistakes
from pvehooks.derived.guest_devices import host_device_among
from pvehooks.derived.setting_lines import Mistake, of_modprobe, of_modules_load
from pvehooks.facts import hardware
from pvehooks.facts.boot import cmdline
from pvehooks.values import Finding, Unread
from pvehooks.values.settingfiles import SettingFiles, SettingLine

# Where a renamed file takes effect with a new initramfs; other directories need commands that are not part of a fix.
_MODULES = ("/etc/modprobe.d/", "/etc/modules-load.d/")


def _files(draft: Draft) -> SettingFiles:
    known = hardware.gather(draft.preview(), draft.node.name).setting_files
    if isinstance(known, Unread):
        raise ByHand(known.why)
    return known


def rename_file(draft: Draft, finding: Finding) -> str:
    """Gives a file of modprobe.d or modules-load.d the name under which it is read."""
    file = next((each for each in _files(draft).unread if each.path == finding.subject), None)
    if file is None or not file.target.startswith(_MODULES):
        raise ByHand("it takes effect only with a command that is not part of a fix")
    text = draft.text(file.path)
    if not draft.host.is_dir(file.target.rpartition("/")[0]):
        raise ByHand(f"there is no {file.target.rpartition('/')[0]}")
    if draft.text(file.target):
        raise ByHand(f"{file.target} is there already")
    draft.write(file.target, text)
    draft.remove(file.path)
    draft.rebuild_initramfs()
    return f"renames {file.path} to {file.target}"


def correct_line(draft: Draft, finding: Finding) -> str:
    """Replaces the lines of a file of modprobe.d or modules-load.d with the lines that were meant."""
    known = draft.node.setting_files
    file, _, number = finding.subject.rpartition(", line ")
    lines = () if isinstance(known, Unread) else (*known.modprobe, *known.modules)
    meant = {line.number: _meant(draft, line) for line in lines if line.file == file}
    right = meant.get(int(number))
    if isinstance(right, ByHand):
        raise right
    if right is None:
        raise ByHand("the line is as it should be")
    # All lines of the file at once, the last first: a line that is replaced moves those below it.
    for line in sorted(_wrong_lines(draft, file), key=lambda each: each.number, reverse=True):
        new = _meant(draft, line)
        if isinstance(new, str):
            draft.replace_line(file, line.number, line.text, new.split("\n"))
            draft.rebuild_initramfs()
    return f"replaces line {number} of {file} with: {' and '.join(right.split(chr(10)))}"


def _wrong_lines(draft: Draft, file: str) -> list[SettingLine]:
    known = _files(draft)
    return [line for line in (*known.modprobe, *known.modules) if line.file == file and _mistake(line) is not None]


def _mistake(line: SettingLine) -> Mistake | None:
    return (of_modprobe if line.file.startswith("/etc/modprobe.d/") else of_modules_load)(line.text)


def _meant(draft: Draft, line: SettingLine) -> str | ByHand | None:
    """The line as it should read, why it is not corrected automatically, or None where it has no mistake."""
    found = _mistake(line)
    if found is None:
        return None
    if not found.right:
        return ByHand("only its author knows what the line is meant to do")
    device = host_device_among(found.right, draft.node)
    return ByHand(f"corrected, it would take {device} from the host") if device else found.right


def correct_arguments(draft: Draft, finding: Finding) -> str:
    """Corrects all arguments that are nearly one that the kernel knows."""
    before = draft.arguments()
    found = [each for each in mistakes(before) if each.right]
    if not any(each.written == finding.subject for each in found):
        if finding.subject in {each.written for each in mistakes(before)}:
            raise ByHand("only its author knows what the argument is meant to do")
        return f"{finding.subject} is out of {draft.loader().file} already"
    if any(cmdline.words(word) != (word,) for word in before):
        raise ByHand("an argument is in quotes")
    for each in found:
        device = host_device_among(each.right, draft.node)
        if device:
            raise ByHand(f"{each.right} would take {device} from the host")

    def corrected(text: str) -> str:
        for each in found:
            pattern = r"\s+".join(map(re.escape, each.written.split(" ")))
            text = re.sub(rf"(?<!\S){pattern}(?!\S)", each.right.replace("\\", r"\\"), text)
        return text

    draft.change_arguments(cmdline.words(corrected(" ".join(before))), corrected)
    draft.require_refresh()
    return f"writes {' and '.join(each.right for each in found)} in {draft.loader().file}"


def unload_module(draft: Draft, finding: Finding) -> str:
    """Turns the line that loads a module at boot into a comment."""
    module, _, file = finding.subject.partition(" in ")
    draft.comment_out(file, texts.loads(module))
    draft.rebuild_initramfs()
    return f"removes {module} from {file}"


def keep_vf_driver(draft: Draft, finding: Finding) -> str:
    """Leaves a physical function to the driver that makes its virtual functions."""
    what, _, address = finding.subject.partition(" ")
    return edits.drop_vfio_ids(draft, finding._replace(subject=address)) if ":" in what else edits.allow_driver(draft, finding)
