"""Reading the settings again."""

from __future__ import annotations

from pvehooks.daemon import service
from pvehooks.daemon.parts import Parts
from pvehooks.daemon.schedule import EVERYTHING
from pvehooks.errors import SettingsError


def reload_settings(parts: Parts, asked: bool = False) -> None:
    """Reads the settings anew where their files have changed, or the administrator `asked` for it; broken ones are logged and the old ones stay."""
    settings = parts.settings
    if not settings.take_due(asked):
        return
    service.notify("RELOADING=1")
    try:
        settings.read()
    except SettingsError as error:
        for problem in error.problems:
            message = f"settings not read, the old ones stay in force: {problem}. {error.hint}".rstrip()
            parts.log.event("settings-broken", message)
    else:
        parts.states.reconsider()
        parts.schedule.settling_seconds = settings.current.watch.settle
        parts.schedule.after(EVERYTHING, 0.0, forced=True)
        parts.log.event("settings-read", f"settings read: [rng] mode = {settings.current.rng().mode}")
    service.notify("READY=1")
