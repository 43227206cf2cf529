"""The settings of a start: the compiled copy while its sources are unchanged, else the files, else what there is."""

from __future__ import annotations

from pvehooks.guarding.words import say
from pvehooks.settings import compiled
from pvehooks.settings.compiled import StartSettings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pvehooks.guarding.child import Tell
    from pvehooks.host import Host
    from pvehooks.settings.compiled import Copy


def copied(host: Host, vmid: int, tell: Tell) -> Copy | None:
    """The compiled copy. What it says is told before anything below /etc/pve is read: that may hang."""
    copy = compiled.read(host, vmid)
    if copy is not None:
        tell_of(copy.settings, tell)
    return copy


def tell_of(used: StartSettings, tell: Tell) -> None:
    """Tells how long the look may take, and what becomes of the start if it fails."""
    guard = used.guard
    tell(f"settings {guard.deadline} {'allow' if guard.mode != 'enforce' else guard.on_error}")


def read(host: Host, copy: Copy | None, vmid: int) -> StartSettings:
    """The settings that hold for the guest. Broken files are said in one line; then the last good copy counts, or the built-in ones."""
    if copy is not None and copy.is_current(host):
        return copy.settings
    from pvehooks.errors import SettingsError
    from pvehooks.settings import load

    try:
        return load.load(host).at_start(vmid)
    except SettingsError as error:
        why = error.problems[0]
    except ImportError as error:
        why = f"the settings files cannot be read: {error}"
    used = "the last good ones hold" if copy is not None else "the built-in ones hold"
    say(f"settings not used, {used}: {why}. See: pvehooks config")
    return copy.settings if copy is not None else StartSettings()
