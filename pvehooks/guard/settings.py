"""The settings of a start: the compiled copy while its sources are unchanged, else the files, else the last good copy or the defaults."""

from __future__ import annotations

from pvehooks.guard.log import log_line
from pvehooks.settings import compiled
from pvehooks.settings.compiled import StartSettings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pvehooks.guard.supervise import Send
    from pvehooks.host import Host
    from pvehooks.settings.compiled import Copy


def read_copy(host: Host, vmid: int, send: Send) -> Copy | None:
    """The compiled copy. Its deadline is sent before anything below /etc/pve is read: that may hang."""
    copy = compiled.read(host, vmid)
    if copy is not None:
        send_used(copy.settings, send)
    return copy


def send_used(used: StartSettings, send: Send) -> None:
    """Sends how long the examination may take, and what becomes of the start if it fails."""
    guard = used.guard
    send("settings", guard.deadline, "allow" if guard.mode != "enforce" else guard.on_error)


def read(host: Host, copy: Copy | None, vmid: int) -> StartSettings:
    """The settings of the guest. Broken files are logged in one line; then the last good copy holds, or the defaults."""
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
    log_line(f"settings not used, {used}: {why}. See: pvehooks config")
    return copy.settings if copy is not None else StartSettings()
