"""pvehooksd: watches the VM configs of this node and has every change looked at.

One thread waits for inotify, signals and deadlines; deeds (qm) run in threads of their own. Nothing below /etc/pve is
held open between two looks.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import selectors
import signal
import sys
import threading

from systemd import daemon as service

from pvehooks import __version__, instance, settings
from pvehooks.errors import NodeError, PvehooksError, SettingsError
from pvehooks.facts import node as node_facts
from pvehooks.facts import pmxcfs
from pvehooks.host import Host
from pvehooks.judge import load_settings
from pvehooks.publishing import publishers
from pvehooks.records import RecordsUnavailable
from pvehooks.report import entries, sink, words
from pvehooks.rounds import Rounds
from pvehooks.watch import Counters, Ears, Heard

# A burst of changes to one guest is judged at the latest after so many settling times.
_PATIENCE = 5
# How soon the counters are looked at after the bell rang, and how often at most.
_BELL_PAUSE = 0.05
# While pmxcfs is away it is looked for with growing pauses.
_AWAY_PAUSES = (0.25, 0.5, 1.0, 2.0, 5.0, 15.0)
# With a dead mount while the bell rings for so long, this process sees another mount than the rest of the node.
_STUCK_AFTER = 30.0
_QM_GRACE = 20.0
# How long the loop may take to end when no qm runs.
_STOP_GRACE = 1.8
# How long after a look that read the settings a SIGHUP with the same files is taken for one that was sent for that edit.
_SAME_EDIT = 10.0
_EVERYTHING = -1
# How long guests that start by themselves wait for the guard at most.
_BOOT_PATIENCE = 20.0


class _StuckError(NodeError):
    """This process sees another mount at /etc/pve than the rest of the node."""


def _kind(error: PvehooksError) -> str:
    """The kind of event that an error is which ends the daemon."""
    if isinstance(error, SettingsError):
        return "settings-broken"
    return "pmxcfs-stuck" if isinstance(error, _StuckError) else "failed"


class Daemon:
    """The loop and what it waits for."""

    def __init__(self, host: Host, node: str, config: settings.Settings, out: sink.Journal | sink.Lines) -> None:
        self.host = host
        self.node = node
        self.sink = out
        self._selector = selectors.DefaultSelector()
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._selector.register(self._wake_read, selectors.EVENT_READ)
        self.rounds = Rounds(host, node, config, out, self._again, self._wake)
        self._config = config
        self._files_mark = settings.mark(host)
        self._look_read_settings = float("-inf")
        self._counters = Counters(host, node)
        self._ears: Ears | None = None
        self._told: set[str] = set()
        # VMID -> (when it is due, when it was first touched, forced)
        self._due: dict[int, tuple[float, float, bool]] = {}
        self._next_look = 0.0
        self._away_since: float | None = None
        self._away_looks = 0
        self._bell_while_away: float | None = None
        self._quorate = True
        self._tidied = False
        self._stop = self._reload = False
        self._watchdog = int(os.environ.get("WATCHDOG_USEC", "0")) / 2e6
        self._next_ping = host.monotonic()
        self._last_status = ""
        self._publishers = publishers(host, node)
        self.rounds.tally.began = int(host.now())

    # -- the loop -----------------------------------------------------------------------------------------------------

    def run(self) -> int:
        """Runs until it is asked to end; returns the exit status."""
        self._catch_signals()
        self._arm()
        self._look()
        self._round(float("inf"))
        self._await_guests_at_boot()
        self.rounds.presence.arrived()
        self.rounds.sum_up()
        self._say("started", f"pvehooks {__version__} watches {words.counted(len(self._counters.guests()), 'VM')} on {self.node}")
        _notify("READY=1")
        while not self._stop:
            self.rounds.look_at_node()
            self._publish()
            self._wait()
            if self._reload:
                self._read_settings()
            self._listen()
            if self.host.monotonic() >= self._next_look:
                self._look()
            self._round()
            self._harvest()
            self._tell_status()
        return self._end()

    def _await_guests_at_boot(self) -> None:
        """READY lets the guests start: those that start by themselves have the guard by then, as far as that can be."""
        deadline = self.host.monotonic() + _BOOT_PATIENCE
        if self._quorate and self.rounds.awaits():
            _notify(f"EXTEND_TIMEOUT_USEC={int((_BOOT_PATIENCE + _BOOT_PATIENCE) * 1e6)}")
        while self._quorate and self.rounds.awaits() and not self._stop and self.host.monotonic() < deadline:
            self._wait(deadline)
            self._listen()
            self._round()
            self._harvest()
        self.rounds.boot_ends(
            "that could not be done in time" if self._quorate else "the cluster has no quorum, so no config can be written"
        )

    def _wait(self, until: float = float("inf")) -> None:
        deadlines = [self._next_look, until, *(due for due, _, _ in self._due.values())]
        if self._watchdog:
            deadlines.append(self._next_ping)
        self._selector.select(max(0.0, min(deadlines) - self.host.monotonic()))
        with contextlib.suppress(BlockingIOError):
            while os.read(self._wake_read, 4096):
                pass
        self._ping()

    def _ping(self) -> None:
        if self._watchdog and self.host.monotonic() >= self._next_ping:
            _notify("WATCHDOG=1")
            self._next_ping = self.host.monotonic() + self._watchdog

    def _pulse(self) -> bool:
        """Called between two guests of a long round: keeps the watchdog quiet and ends the round when asked to stop."""
        self._ping()
        return not self._stop

    def _end(self) -> int:
        """Gives a running qm its time, but not more than 20 s."""
        _notify("STOPPING=1")
        self.rounds.workers.forget_waiting()
        self._ask_for_time()
        deadline = self.host.monotonic() + _QM_GRACE
        while self.rounds.workers.busy and self.host.monotonic() < deadline:
            self._selector.select(min(0.5, deadline - self.host.monotonic()))
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake_read, 4096)
            self._ping()
            self.rounds.harvest()
        busy = self.rounds.workers.busy
        self._say("stopped", f"pvehooks ends, as it was asked to{f'; {busy} qm still at work' if busy else ''}")
        if self._ears is not None:
            self._ears.close()
        return 0

    def _ask_for_time(self) -> None:
        """TimeoutStopSec= is short, because pmxcfs' restart waits for it when we hang with pmxcfs; a qm at work needs longer."""
        if self.rounds.workers.busy:
            _notify(f"EXTEND_TIMEOUT_USEC={int((_QM_GRACE + 3) * 1e6)}")

    # -- signals ------------------------------------------------------------------------------------------------------

    def _catch_signals(self) -> None:
        signals_read, signals_write = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(signals_write, False)
        signal.set_wakeup_fd(signals_write, warn_on_full_buffer=False)
        threading.Thread(target=self._pass_signals_on, args=(signals_read,), name="signals", daemon=True).start()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._asked_to_stop)
        signal.signal(signal.SIGHUP, self._asked_to_reload)
        # The kernel gives a signal to the main thread if it takes any, also while that hangs in FUSE and never sees it.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT, signal.SIGHUP})

    def _pass_signals_on(self, signals: int) -> None:
        """Wakes the loop for a signal; a loop that pmxcfs keeps hanging cannot end, so the process is ended for it.

        A signal handler of Python's does not interrupt a read that hangs in FUSE, and systemd would wait for us with the
        restart of pmxcfs that ends it.
        """
        while received := os.read(signals, 64):
            self._wake()
            if {signal.SIGTERM, signal.SIGINT} & set(received):
                self._ask_for_time()
                began = self.host.monotonic()
                self.host.sleep(_STOP_GRACE)
                worked = self.rounds.workers.busy
                while self.rounds.workers.busy and self.host.monotonic() - began < _QM_GRACE + 1:
                    self.host.sleep(0.1)
                if worked:
                    # The loop has taken in what ended, and tells of it.
                    self.host.sleep(_STOP_GRACE)
                os._exit(0)

    def _asked_to_stop(self, *_: object) -> None:
        self._stop = True

    def _asked_to_reload(self, *_: object) -> None:
        self._reload = True

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake_write, b"w")

    # -- noticing -----------------------------------------------------------------------------------------------------

    def _arm(self) -> None:
        """A fresh inotify instance with all watches; says once what could not be watched."""
        if self._ears is not None:
            self._selector.unregister(self._ears.fileno())
            self._ears.close()
            self._ears = None
        try:
            self._ears = Ears(self.host, self.node)
            self._selector.register(self._ears.fileno(), selectors.EVENT_READ)
            troubles = self._ears.troubles
        except OSError as error:
            troubles = [f"no inotify instance: {error.strerror}"]
        for trouble in troubles:
            if trouble not in self._told:
                self._told.add(trouble)
                self._say(
                    "watch-limited", f"a watch could not be had ({trouble}): changes are noticed every {self._config.watch.interval} s only"
                )

    def _listen(self) -> None:
        heard = self._ears.hear() if self._ears is not None else Heard()
        for vmid in heard.guests:
            self._touch(vmid)
        if heard.overflow:
            self._say("watch-overflow", "inotify events were lost; all guests are looked at anew")
        if heard.overflow or heard.mappings:
            self._touch(_EVERYTHING)
        if heard.lost:
            self._arm()
        if heard.bell or heard.lost:
            self._next_look = min(self._next_look, self.host.monotonic() + _BELL_PAUSE)
            if self._away_since is not None:
                self._away_looks = 0
                self._bell_while_away = self._bell_while_away or self.host.monotonic()

    def _touch(self, vmid: int, delay: float | None = None, force: bool = False) -> None:
        """The guest may have changed: it is due when nothing more came for the settling time."""
        now = self.host.monotonic()
        settle = self._config.watch.settle
        _, first, forced = self._due.get(vmid, (0.0, now, False))
        if delay is None:
            self._due[vmid] = (max(now, min(now + settle, first + _PATIENCE * settle)), first, force or forced)
        else:
            # What is due earlier, because something happened meanwhile, stays so.
            due = min(now + delay, self._due[vmid][0]) if vmid in self._due else now + delay
            self._due[vmid] = (due, due, force or forced)

    def _again(self, vmid: int, pause: float) -> None:
        self._touch(vmid, max(pause, self._config.watch.settle), force=True)

    def _look(self) -> None:
        """Reads pmxcfs' counters and marks what they say has changed."""
        now = self.host.monotonic()
        self._next_look = now + self._config.watch.interval
        try:
            seen = self._counters.look()
            self.rounds.meet(seen.came, self._counters.elsewhere)
            attachable = self.rounds.presence.look()
            if not self._tidied:
                self._tidied = True
                self.rounds.tidy(self._counters.guests())
        except (pmxcfs.PmxcfsAway, RecordsUnavailable) as away:
            self._is_away(away)
            return
        if self._away_since is not None:
            self._is_back()
        if seen.restarted or self._ears is None or not self._ears.hears_guests:
            self._arm()
        self._read_settings(quietly=True)
        for vmid in seen.gone:
            self._due.pop(vmid, None)
            self.rounds.gone(vmid)
        for vmid in seen.touched:
            self._touch(vmid)
        if attachable:
            self._touch(_EVERYTHING, force=True)
        if seen.cluster:
            self._look_at_quorum()
        self.rounds.tally.watched = int(self.host.now())

    def _is_away(self, away: Exception) -> None:
        now = self.host.monotonic()
        if self._away_since is None:
            self._away_since = now
            self._away_looks = 0
            self._bell_while_away = None
            there = self._ears is not None and self._ears.hears_cluster
            known = "it is waited for" if there else f"there is none here (yet), it is looked for every {self._config.watch.interval} s"
            self._say("pmxcfs-away", f"pmxcfs does not answer ({away}): {known}. See: systemctl status pve-cluster")
        pause = _AWAY_PAUSES[min(self._away_looks, len(_AWAY_PAUSES) - 1)]
        self._away_looks += 1
        self._next_look = now + min(pause, self._config.watch.interval)
        if self._bell_while_away is not None and now - self._bell_while_away > _STUCK_AFTER:
            # The bell rang, so pmxcfs lives, but not for this process: it sees another mount than the rest of the node.
            raise _StuckError("/etc/pve stays dead for this process while pmxcfs works", hint="It ends so that systemd starts it afresh.")

    def _is_back(self) -> None:
        self._away_since = None
        self._say("pmxcfs-back", "pmxcfs answers again; all guests are looked at anew")
        self._arm()
        self._read_settings(quietly=True)
        self._touch(_EVERYTHING)
        for vmid in self.rounds.waiting():
            self._touch(vmid, force=True)

    def _look_at_quorum(self) -> None:
        try:
            quorate = pmxcfs.quorate(self.host)
        except pmxcfs.PmxcfsAway:
            return
        if quorate == self._quorate:
            return
        self._quorate = quorate
        if quorate:
            self._say("quorum-back", "the cluster has quorum again: what had to wait is done now")
            for vmid in self.rounds.waiting():
                self._touch(vmid, force=True)
            if self.rounds.presence.came:
                self._touch(_EVERYTHING, force=True)
        else:
            self._say("quorum-lost", "the cluster has no quorum: /etc/pve cannot be written, what is due waits. See: pvecm status")

    # -- rounds -------------------------------------------------------------------------------------------------------

    def _round(self, now: float | None = None) -> None:
        """Has those guests looked at that are due; one with a deed under way waits for its end."""
        now = self.host.monotonic() if now is None else now
        for vmid in self.rounds.workers.running():
            if vmid in self._due and self._due[vmid][0] <= now:
                self._due[vmid] = (now + self._config.watch.settle, now, self._due[vmid][2])
        due = {vmid: forced for vmid, (when, _, forced) in self._due.items() if when <= now}
        if not due:
            return
        for vmid in due:
            del self._due[vmid]
        everything = due.pop(_EVERYTHING, None)
        if everything is not None:
            due = {**dict.fromkeys(self._all_guests(), everything), **due}
        try:
            for force in (True, False):
                self.rounds.look([vmid for vmid, forced in due.items() if forced is force], force, self._pulse)
        except RecordsUnavailable:
            # pmxcfs went away meanwhile: the look says so, and its return has all guests looked at.
            for vmid, forced in due.items():
                self._touch(vmid, _AWAY_PAUSES[-1], forced)
            self._next_look = self.host.monotonic()
        if everything is not None:
            self.rounds.presence.arrived()
            self.rounds.sum_up()

    def _harvest(self) -> None:
        """Takes in what the deeds came to; where one met a pmxcfs without quorum, or may have met it again, looks at once."""
        self.rounds.harvest()
        if self.rounds.doubts_pmxcfs:
            self.rounds.doubts_pmxcfs = False
            self._next_look = self.host.monotonic()

    def _all_guests(self) -> list[int]:
        return node_facts.guest_ids_or_none(self.host, self.node)

    # -- settings and saying ------------------------------------------------------------------------------------------

    def _read_settings(self, quietly: bool = False) -> None:
        """Reads the settings anew; broken ones are said and the old ones stay."""
        self._reload = False
        now = self.host.monotonic()
        mark = settings.mark(self.host)
        if mark == self._files_mark and (quietly or now < self._look_read_settings + _SAME_EDIT):
            return
        self._files_mark = mark
        self._look_read_settings = now if quietly else float("-inf")
        _notify("RELOADING=1")
        try:
            self._config = _settings(self.host)
        except SettingsError as error:
            for problem in error.problems:
                self._say("settings-broken", f"settings not read, the old ones stay in force: {problem}. {error.hint}".rstrip())
        else:
            self.rounds.reconsider(self._config)
            self._touch(_EVERYTHING, 0.0, force=True)
            self._say("settings-read", f"settings read: [rng] mode = {self._config.rng().mode}")
        _notify("READY=1")

    def _tell_status(self) -> None:
        status = self._status()
        if status != self._last_status:
            self._last_status = status
            _notify(status)

    def _publish(self) -> None:
        tally = self.rounds.tally
        tally.away, tally.quorate = self._away_since is not None, self._quorate
        tally.hookscripts = self.rounds.presence.hookscripts
        for publisher in self._publishers:
            if not (tally.away and publisher.in_pmxcfs) and (trouble := publisher.publish(tally, self._config)):
                self._say("not-published", trouble)

    def _status(self) -> str:
        count = len(self._counters.guests())
        findings = self.rounds.ledger.count()
        last = f"; last change: {self.rounds.last_change}" if self.rounds.last_change else ""
        away = "; pmxcfs does not answer" if self._away_since is not None else ""
        return f"STATUS={words.counted(count, 'VM')} watched, {words.counted(findings, 'finding')}{last}{away}"

    def _say(self, kind: str, message: str) -> None:
        self.rounds.tally.done[kind] += 1
        self.sink.say(entries.event(kind, message, self.node))


def _settings(host: Host) -> settings.Settings:
    """The settings in force, left for the hookscript as well; raises SettingsError."""
    loaded = load_settings(host)
    with contextlib.suppress(OSError):
        # Without them it reads the files itself, which takes longer.
        settings.compile_to(host, loaded)
    return loaded


def _notify(state: str) -> None:
    """Tells the service manager, sd_notify(3); one that does not listen is no reason to end."""
    with contextlib.suppress(OSError):
        service.notify(state)


def parser() -> argparse.ArgumentParser:
    """The daemon's command line."""
    line = argparse.ArgumentParser(
        prog="pvehooksd",
        description="Watches the VM configs of a Proxmox VE node and gives UEFI guests the rng0 they lack.",
        epilog="Example: pvehooksd --foreground --root /tmp/tree --node pve1",
    )
    line.add_argument("--foreground", action="store_true", help="accepted for clarity: it never goes into the background by itself")
    line.add_argument("--root", default="/", metavar="DIR", help="a tree that stands for a node; nothing outside of it is touched")
    line.add_argument("--node", default="", metavar="NAME", help="the node to care for (default: this one)")
    line.add_argument("--version", action="version", version=f"pvehooksd {__version__}")
    return line


def main(arguments: list[str] | None = None) -> int:
    """The program."""
    options = parser().parse_args(arguments)
    out = sink.sink()
    try:
        host = Host(options.root)
        node = node_facts.node_name(host, options.node)
        node_facts.require_own(host, node)
        with instance.only_one(host):
            config = _settings(host)
            instance.started(host)
            return Daemon(host, node, config, out).run()
    except PvehooksError as error:
        if isinstance(error, SettingsError) and instance.said_before(options.root, error.message):
            return error.exit_status
        for problem in error.message.splitlines():
            out.say(entries.event(_kind(error), f"{problem}. {error.hint}".rstrip(), ""))
        return error.exit_status


if __name__ == "__main__":
    sys.exit(main())
