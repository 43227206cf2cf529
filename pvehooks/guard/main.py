"""The guard: examines the start of a guest with passed-through PCI devices, and exits with 1 to refuse it, else with 0.

The hookscript calls it before PVE touches a device: guard VMID PHASE [--root DIR]. PVE waits for it without a limit and holds the
guest's lock meanwhile, so the examination has a deadline, and nothing here calls qm. Imports are few and late: each costs at every start.
"""

from __future__ import annotations

# Without the enumerations of module signal, which take 3 ms: all that is loaded here is loaded before the examination is a process of its
# own, and each page of memory that it then changes is copied.
import _signal as signal
import os
import sys

from pvehooks.guard import supervise
from pvehooks.guard.log import MOST_LINES, log_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pvehooks.guard.counters import Outcome
    from pvehooks.guard.supervise import Send

PHASES = ("pre-start", "post-start", "pre-stop", "post-stop")
# How pvehooks-return.service calls it for a guest whose post-stop was not run, or was not finished.
ENDED = "ended"
USAGE = "usage: guard VMID PHASE [--root DIR]"
# Until the settings are known.
_DEADLINE = 10.0
# For output and the record after the verdict; for binding; for the fallback.
_FINISHING_SECONDS, _BINDING_SECONDS, _FALLBACK_SECONDS = 5.0, 60.0, 3.0
# How far the examination has come.
EXAMINING, BINDING, DECIDED = "examining", "binding", "decided"


def main(arguments: list[str], rerun: Callable[[], None] = lambda: None) -> int:
    """The program; returns the exit status, 0 or 1. It calls `rerun`, which may not return, before it gives up on its own files."""
    arguments = list(arguments)
    root = "/"
    if len(arguments) == 4 and arguments[2] == "--root":
        root = arguments[3]
        del arguments[2:]
    if len(arguments) != 2:
        log_line(USAGE)
        return 1
    vmid, phase = arguments
    if phase not in (*PHASES, ENDED):
        log_line(f"'{phase[:40]}' is no phase of a hookscript ({', '.join(PHASES)}): nothing is done in it")
        return 0
    if phase not in ("pre-start", "post-stop", ENDED):
        return 0
    if not (vmid.isascii() and vmid.isdecimal() and 3 <= len(vmid) <= 9 and vmid[0] != "0"):
        # PVE has no such VMID: this is no start, and refuses none.
        log_line(f"'{vmid[:40]}' is no VMID (a number from 100 to 999999999)")
        return int(phase in ("pre-start", ENDED))
    if phase != "pre-start":
        from pvehooks.guard import stop

        return stop.run(int(vmid), root, is_phase=phase != ENDED)
    return Supervisor(int(vmid), root, rerun).run()


class Supervisor:
    """Waits for the examination of one start, and decides in its place when it dies or is late: see WHEN_LOST.

    Handles each message of supervise.MESSAGES with a method on_KIND.
    """

    def __init__(self, vmid: int, root: str, rerun: Callable[[], None]) -> None:
        self._vmid = vmid
        self._root = root
        self._rerun = rerun
        self._deadline = _DEADLINE
        self._on_error = "known"
        self._progress = EXAMINING
        self._verdict = 1
        self._cause = "a mistake of the guard"
        self._found: list[str] = []
        self._changing = ""

    def run(self) -> int:
        """Returns the guard's exit status."""
        ended = supervise.run(lambda send: _examine(self._vmid, self._root, send), self._deadline, self.on_message)
        if ended in (0, 1):
            return ended
        return WHEN_LOST[self._progress](self, ended)

    # -- messages -----------------------------------------------------------------------------------------------------

    def on_message(self, kind: str, fields: list[str]) -> float | None:
        """Handles a message; returns the seconds that the examination has from now on, None for no change."""
        seconds: float | None = getattr(self, f"on_{kind}")(*fields)
        return seconds

    def on_settings(self, deadline: str, on_error: str) -> float | None:
        """The settings of this start; returns the deadline if it changed."""
        self._on_error = on_error
        earlier, self._deadline = self._deadline, float(deadline)
        return self._deadline if self._deadline != earlier else None

    def on_verdict(self, status: str) -> float:
        """The exit status that stands from now on."""
        self._progress, self._verdict = DECIDED, int(status)
        return _FINISHING_SECONDS

    def on_binding(self) -> float:
        """Devices may be between two drivers until the next verdict."""
        self._progress = BINDING
        return _BINDING_SECONDS

    def on_found(self, line: str) -> None:
        """What refuses the start although not all was looked at."""
        # Two more lines say why the examination ended, and how to override.
        if len(self._found) < MOST_LINES - 2:
            self._found.append(line)

    def on_changing(self, what: str) -> None:
        """A change of a device that may hang is under way, or over."""
        self._changing = what

    def on_unexamined(self, cause: str) -> None:
        """Why there will be no verdict."""
        self._cause = cause

    # -- when the examination is lost: `ended` is the child's status, minus its signal, or None if it was late --------

    def when_examining(self, ended: int | None) -> int:
        """Refuses the start for what was found by then, or for a device that is being changed; else decides by [guard] on_error."""
        if self._changing:
            end = f"did not come to its end within {self._deadline:.0f} s" if ended is None else "was broken off"
            log_line(f"VM {self._vmid} is not started: {self._changing} {end}. See: dmesg")
            self._count("refused")
            return 1
        if ended is None:
            self._cause = f"the examination took longer than {self._deadline:.0f} s ([guard] deadline) and was given up"
        elif ended < 0:
            self._cause = f"the examination was ended by signal {-ended}"
        if ended is None or ended < 0:
            # Else the child has printed why.
            log_line(f"VM {self._vmid}: the start could not be examined: {self._cause}.")
        return self._refuse_for_found() if self._found else self._without_verdict()

    def when_binding(self, ended: int | None) -> int:
        """Refuses the start: devices may be between two drivers."""
        if ended is None:
            end = "hangs, and so would the start"
        else:
            end = f"was ended by signal {-ended}" if ended < 0 else "failed"
        log_line(f"VM {self._vmid} is not started: binding its devices to vfio-pci {end}. See: dmesg")
        self._count("refused")
        return 1

    def when_decided(self, ended: int | None) -> int:
        """The verdict stands; some of its lines, or the record, may be missing."""
        if ended is not None and ended < 0:
            log_line(f"VM {self._vmid}: the guard was ended by signal {-ended} after its verdict, which stands.")
        self._count("refused" if self._verdict else "passed")
        return self._verdict

    def _refuse_for_found(self) -> int:
        """Refuses the start for what was found before the examination ended: the rest of it could only have added to that."""
        for line in self._found:
            log_line(line)
        log_line(f"  To start it once nevertheless, with all that follows: pvehooks allow {self._vmid} --once --reason WHY")
        message = f"{'; '.join(line for line in self._found if not line.startswith(' '))}. The examination was not finished: {self._cause}"
        supervise.run(lambda _: _write_refused(self._vmid, self._root, message), _FALLBACK_SECONDS, lambda *_: None)
        self._count("refused")
        return 1

    def _without_verdict(self) -> int:
        ended = supervise.run(lambda _: _fall_back(self._vmid, self._root, self._on_error, self._cause), _FALLBACK_SECONDS, lambda *_: None)
        if ended in (0, 1):
            return ended
        if ended is not None:
            self._rerun()
        self._count("unexamined" if self._on_error == "allow" else "unexamined-refused")
        if self._on_error == "allow":
            return 0
        if ended is None:
            _log_late(self._vmid)
        else:
            _log_damaged(self._vmid)
        return 1

    def _count(self, outcome: Outcome) -> None:
        """Counts a start whose examination ended before it counted the start itself."""
        try:
            from pvehooks.guard import counters
            from pvehooks.host import Host

            counters.count(Host(self._root), outcome)
        except Exception:  # noqa: BLE001 - the start matters more than its count
            return


# What becomes of a start whose examination dies, or is late, by how far it had come.
WHEN_LOST: dict[str, Callable[[Supervisor, int | None], int]] = {
    EXAMINING: Supervisor.when_examining,
    BINDING: Supervisor.when_binding,
    DECIDED: Supervisor.when_decided,
}


# -- in the child -----------------------------------------------------------------------------------------------------


def _examine(vmid: int, root: str, send: Send) -> int:
    from pvehooks.host import Host

    host = Host(root)
    try:
        from pvehooks.errors import PvehooksError
        from pvehooks.guard import start

        try:
            compiled_settings = start.read_compiled(host, vmid, send)
            place = start.find_place(host, vmid, _migration_source())
            if place.trouble:
                log_line(f"VM {vmid}: {place.trouble}")
            return start.examine(host, place, vmid, compiled_settings, send)
        except (start.Unexamined, PvehooksError) as error:
            from pvehooks.wording import printable

            cause = printable(str(error.args[0]))
            log_line(f"VM {vmid}: the start could not be examined: {cause}")
            send("unexamined", cause)
            return start.UNEXAMINED
    except Exception as error:  # noqa: BLE001 - a bug of the guard must not decide about the start
        from pvehooks.guard import journal

        cause = f"the guard made a mistake ({type(error).__name__})"
        log_line(f"VM {vmid}: {cause}, please report it: journalctl -t {journal.IDENTIFIER}")
        send("unexamined", cause)
        journal.bug(host, error, "", vmid)
        return supervise.CRASHED


def _fall_back(vmid: int, root: str, on_error: str, cause: str) -> int:
    # From the sources alone: compiled files may be what is damaged.
    sys.pycache_prefix, sys.dont_write_bytecode = os.devnull, True
    from pvehooks.guard import fallback
    from pvehooks.host import Host

    return fallback.decide(Host(root), vmid, _migration_source(), on_error, cause)


def _write_refused(vmid: int, root: str, message: str) -> int:
    from pvehooks.guard import journal
    from pvehooks.host import Host

    journal.event(Host(root), "start-unexamined", message, "", vmid, verdict="block")
    return 1


def _migration_source() -> str:
    """The node that a live migration comes from, or ''."""
    return os.environ.get("PVE_MIGRATED_FROM", "")


# -- the process ------------------------------------------------------------------------------------------------------


def run(rerun: Callable[[], None] = lambda: None) -> None:
    """The guard as a process: exits with 0 or 1 whatever happens to it."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: os._exit(1))
    for stream in (0, 1, 2):
        try:
            os.fstat(stream)
        except OSError:
            # A pipe of ours must not get the number of a standard stream that the caller has closed.
            os.open(os.devnull, os.O_RDWR)
    try:
        status = main(sys.argv[1:], rerun)
    except BaseException as error:  # noqa: BLE001 - PVE takes every other status for a refusal without a reason
        status = _without_supervisor(sys.argv[1:], f"the guard made a mistake ({type(error).__name__}: {error})", rerun)
    os._exit(status)


def _without_supervisor(arguments: list[str], cause: str, rerun: Callable[[], None]) -> int:
    """Decides in this very process, when not even supervision works."""
    log_line(f"{cause}, please report it")
    rerun()
    root = arguments[3] if len(arguments) == 4 else "/"
    try:
        return _fall_back(int(arguments[0]), root, "known", cause)
    except BaseException:  # noqa: BLE001 - as in run
        _log_damaged(int(arguments[0]))
        return 1


def _log_late(vmid: int) -> None:
    """No file of ours is to blame, and a second try would keep the guest's lock for as long again."""
    limit = f"{_FALLBACK_SECONDS:.0f} s"
    log_line(f"VM {vmid} is not started: it could not be examined, nor compared with its last accepted start within {limit}.")
    log_line(
        "  Either pmxcfs or a device hangs, or the node is overloaded. See: pvehooks status; dmesg. To start it without the guard:"
        f" qm set {vmid} --delete hookscript"
    )


def _log_damaged(vmid: int) -> None:
    log_line(f"VM {vmid} is not started: it could not be examined, nor compared with its last accepted start.")
    log_line(
        f"  The guard seems to be damaged: apt install --reinstall pvehooks. To start it without the guard: qm set {vmid} --delete hookscript"
    )
