"""The result of a change to a guest's config."""

from __future__ import annotations

import enum

from pvehooks.errors import ActionFailed
from pvehooks.values.base import NamedTuple


class Outcome(enum.Enum):
    """The outcome of a change to a guest's config; the value is a phrase for messages."""

    DONE = "done"
    ALREADY = "the config already has this value"
    DECLINED = "pvehooks does not change this config"
    CHANGED = "the config was changed meanwhile"
    LOCKED = "the VM is locked"
    WAITING = "pmxcfs accepts no writes now"
    GONE = "the VM is not on this node any more"
    REFUSED = "Proxmox VE refused the value"
    LOSSY = "PVE would drop lines when rewriting the config"
    UNSAVED = "its config cannot be backed up"
    BROKEN = "Proxmox VE gave no usable answer"
    NOT_VERIFIED = "the config is not as expected after the change"


# After these the config may have changed.
MAY_HAVE_WRITTEN = frozenset((Outcome.DONE, Outcome.BROKEN, Outcome.NOT_VERIFIED))


class Result(NamedTuple):
    """The result of an action on a guest."""

    outcome: Outcome
    # Why it was not done; PVE's output if it was.
    words: str
    # The value that was written or removed.
    value: str = ""
    # The digest of the config afterwards, '' if it was not written.
    digest: str = ""
    # The path of the copy of the config before.
    backup: str = ""
    # Whether it takes effect at the guest's next start only.
    later: bool = False
    # The hookscript that was set.
    volid: str = ""
    # What to do if the change is not verified.
    hint: str = ""
    # The command that reverts the change.
    undo: str = ""

    @property
    def done(self) -> bool:
        """Whether the config is verified to be as requested."""
        return self.outcome in (Outcome.DONE, Outcome.ALREADY)

    def verified(self, value: str = "", volid: str = "") -> Result:
        """The result with `value` and `volid` if it is DONE; raises ActionFailed if the written config is not as expected."""
        if self.outcome is Outcome.NOT_VERIFIED:
            raise ActionFailed(self.words, self.hint)
        return self._replace(value=value, volid=volid) if self.outcome is Outcome.DONE else self
