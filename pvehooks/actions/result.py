"""What became of a change to a guest's config."""

from __future__ import annotations

import enum
from typing import NamedTuple

from pvehooks.errors import ActionFailed


class Outcome(enum.Enum):
    """What became of a change to a guest's config."""

    DONE = "done"
    ALREADY = "the config says so already"
    HELD = "pvehooks leaves the config as it is"
    CHANGED = "the config was changed meanwhile"
    LOCKED = "the guest is locked"
    WAITING = "pmxcfs takes no writes now"
    GONE = "the guest is not on this node any more"
    REFUSED = "qm refused the value"
    LOSSY = "PVE would lose something when rewriting the config"
    UNSAVED = "its config cannot be backed up"
    BROKEN = "qm gave no usable answer"
    NOT_VERIFIED = "the config is not as it should be after the change"


# After these the config may be another one than before.
MAY_HAVE_WRITTEN = frozenset((Outcome.DONE, Outcome.BROKEN, Outcome.NOT_VERIFIED))


class Result(NamedTuple):
    """What became of an action on a guest."""

    outcome: Outcome
    # Why it was not done; what qm said of it where it was.
    words: str
    # What the action gave or took.
    value: str = ""
    # That of the config afterwards, '' where it was not written.
    digest: str = ""
    # The path of the config as it was.
    backup: str = ""
    # Whether it takes effect at the guest's next start only.
    later: bool = False
    # The hookscript that was set.
    volid: str = ""
    # What to do where it is not verified.
    hint: str = ""
    # The command that takes it back.
    undo: str = ""

    @property
    def done(self) -> bool:
        """Whether the config is verified to be as it was asked for."""
        return self.outcome in (Outcome.DONE, Outcome.ALREADY)

    def verified(self, value: str = "", volid: str = "") -> Result:
        """The result, with what was given if it was; raises ActionFailed where something was written that is not as it should be."""
        if self.outcome is Outcome.NOT_VERIFIED:
            raise ActionFailed(self.words, self.hint)
        return self._replace(value=value, volid=volid) if self.outcome is Outcome.DONE else self
