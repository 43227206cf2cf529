"""The guard: looks at the start of a guest with passed-through PCI devices, and ends with 1 to refuse it, else with 0.

It runs in the hookscript, before PVE touches a device: guard VMID PHASE [--root DIR]. PVE waits for it without a limit and holds the
guest's lock meanwhile, so the look has a deadline, and nothing here calls qm. Imports are few and late: each costs at every start.
"""

from __future__ import annotations

# Without the enumerations of module signal, which take 3 ms: all that is loaded here is loaded before the look is a process of its own,
# and each page of memory that it then changes is copied.
import _signal as signal
import os
import sys

from pvehooks.guarding import child
from pvehooks.guarding.words import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pvehooks.guarding.child import Tell

PHASES = ("pre-start", "post-start", "pre-stop", "post-stop")
USAGE = "usage: guard VMID PHASE [--root DIR]"
# Before the settings are known; and what is left for saying and noting once the verdict is, for binding, for a look without us.
_DEADLINE = 10.0
_SAYING, _BINDING, _DECIDING = 5.0, 60.0, 3.0


def main(arguments: list[str], again: Callable[[], None] = lambda: None) -> int:
    """The program; returns the exit status, 0 or 1. It calls `again` before it gives up on files of its own, which may not come back."""
    words = list(arguments)
    root = "/"
    if len(words) == 4 and words[2] == "--root":
        root = words[3]
        del words[2:]
    if len(words) != 2:
        say(USAGE)
        return 1
    vmid, phase = words
    if phase not in PHASES:
        say(f"'{phase[:40]}' is no phase of a hookscript ({', '.join(PHASES)}): nothing is done in it")
        return 0
    if phase != "pre-start":
        return 0
    if not (vmid.isascii() and vmid.isdecimal() and 3 <= len(vmid) <= 9 and vmid[0] != "0"):
        # PVE names no guest so: this is no start, and nobody is kept from one.
        say(f"'{vmid[:40]}' is no VMID (a number from 100 to 999999999)")
        return 1
    return _Watch(int(vmid), root, again).run()


class _Watch:
    """Waits for the look, and decides where there is none: `verdict` once it told one, else by `on_error`."""

    def __init__(self, vmid: int, root: str, again: Callable[[], None]) -> None:
        self.vmid = vmid
        self.root = root
        self.again = again
        self.deadline = _DEADLINE
        self.on_error = "known"
        self.verdict: int | None = None
        self.stage = "looking"
        self.cause = "a mistake of the guard"

    def run(self) -> int:
        ended = child.run(lambda tell: _look(self.vmid, self.root, tell), self.deadline, self.heed)
        if ended in (0, 1):
            return ended
        if ended is None and self.stage == "binding":
            say(f"VM {self.vmid} is not started: binding its devices to vfio-pci hangs, and so would the start. See: dmesg")
        elif ended is None and self.verdict is None:
            self.cause = f"the look took longer than {self.deadline:.0f} s ([guard] deadline) and was given up"
            say(f"VM {self.vmid}: the start could not be examined: {self.cause}.")
        elif ended is not None and ended < 0:
            self.cause = f"the look was ended by signal {-ended}"
            say(f"VM {self.vmid}: the start could not be examined: {self.cause}.")
        if self.verdict is None:
            return self._without_a_verdict()
        self._count("refused" if self.verdict else "passed")
        return self.verdict

    def heed(self, told: list[str]) -> float | None:
        """Takes in what the look tells; gives it more time where that is due."""
        if told[0] == "settings":
            self.on_error = told[2]
            earlier, self.deadline = self.deadline, float(told[1])
            return self.deadline if self.deadline != earlier else None
        if told[0] == "trouble":
            self.cause = " ".join(told[1:])
            return None
        self.stage = told[0]
        if self.stage == "verdict":
            self.verdict = int(told[1])
            return _SAYING
        if self.stage == "binding":
            self.verdict = 1
            return _BINDING
        self.verdict = 0
        return _SAYING

    def _without_a_verdict(self) -> int:
        ended = child.run(lambda _: _decide(self.vmid, self.root, self.on_error, self.cause), _DECIDING, lambda _: None)
        if ended in (0, 1):
            return ended
        self.again()
        self._count("unexamined" if self.on_error == "allow" else "unexamined-refused")
        if self.on_error == "allow":
            return 0
        _say_damaged(self.vmid)
        return 1

    def _count(self, outcome: str) -> None:
        """What the look ends with, it counts itself; this is for one that did not get that far."""
        try:
            from pvehooks import starts
            from pvehooks.host import Host

            starts.count(Host(self.root), outcome)
        except Exception:  # noqa: BLE001 - the start matters more than its count
            return


# -- in a process of its own ------------------------------------------------------------------------------------------


def _look(vmid: int, root: str, tell: Tell) -> int:
    from pvehooks.host import Host

    host = Host(root)
    try:
        from pvehooks.errors import PvehooksError
        from pvehooks.guarding import place, settings, start

        try:
            copy = settings.copied(host, vmid, tell)
            where = place.find(host, vmid, _source())
            if where.trouble:
                say(f"VM {vmid}: {where.trouble}")
            return start.look(host, where, vmid, copy, tell)
        except (start.Unexamined, PvehooksError) as error:
            from pvehooks.wording import printable

            cause = printable(str(error.args[0]))
            say(f"VM {vmid}: the start could not be examined: {cause}")
            tell(f"trouble {cause}")
            return start.UNEXAMINED
    except Exception as error:  # noqa: BLE001 - a mistake of ours decides nothing by itself
        from pvehooks.guarding import journal

        cause = f"the guard made a mistake ({type(error).__name__})"
        say(f"VM {vmid}: {cause}, please report it: journalctl -t {journal.IDENTIFIER}")
        tell(f"trouble {cause}")
        journal.bug(host, error, "", vmid)
        return child.CRASHED


def _decide(vmid: int, root: str, on_error: str, cause: str) -> int:
    # From the sources alone: compiled files may be what is damaged.
    sys.pycache_prefix, sys.dont_write_bytecode = os.devnull, True
    from pvehooks.guarding import unexamined
    from pvehooks.host import Host

    return unexamined.decide(Host(root), vmid, _source(), on_error, cause)


def _source() -> str:
    """The node that a live migration comes from, or ''."""
    return os.environ.get("PVE_MIGRATED_FROM", "")


def _say_damaged(vmid: int) -> None:
    say(f"VM {vmid} is not started: it could not be examined, nor compared with its last accepted start.")
    say(
        f"  The guard seems to be damaged: apt install --reinstall pvehooks. To start it without the guard: qm set {vmid} --delete hookscript"
    )


def run(again: Callable[[], None] = lambda: None) -> None:
    """The guard as a process: ends with 0 or 1 whatever happens to it."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: os._exit(1))
    for stream in (0, 1, 2):
        try:
            os.fstat(stream)
        except OSError:
            # A pipe of ours must not get the number of a standard stream that whoever started us has closed.
            os.open(os.devnull, os.O_RDWR)
    try:
        status = main(sys.argv[1:], again)
    except BaseException as error:  # noqa: BLE001 - PVE takes every other status for a refusal without a word
        status = _without_a_watch(sys.argv[1:], f"the guard made a mistake ({type(error).__name__}: {error})", again)
    os._exit(status)


def _without_a_watch(words: list[str], cause: str, again: Callable[[], None]) -> int:
    """Decides in this very process, where not even the watch over the look works."""
    say(f"{cause}, please report it")
    again()
    root = words[3] if len(words) == 4 else "/"
    try:
        return _decide(int(words[0]), root, "known", cause)
    except BaseException:  # noqa: BLE001 - the same
        _say_damaged(int(words[0]))
        return 1


if __name__ == "__main__":
    run()
