"""Whether systemd can start the daemon now.

To set up the sandbox it looks at /etc/pve (systemd's namespace.c): that hangs with a pmxcfs that hangs, and fails on the mount of one that
was killed, again and again. pvehooks-await@.service asks before each start. Then a transient unit waits, and starts the daemon.
"""

from __future__ import annotations

import contextlib
import os

from pvehooks.facts.cluster import pmxcfs
from pvehooks.host import CommandTrouble, Host
from pvehooks.journal.entries import event
from pvehooks.journal.output import Journal, Lines

# Seconds for pmxcfs to answer; it takes milliseconds.
_PATIENCE = 3.0
_UNIT = "pvehooks-await.service"
# A condition of pvehooks.service: while it is there, that is not started. pvehooks-await@.service removes it.
_WAITS = "/run/pvehooks/awaits-pmxcfs"
# A read from a pmxcfs that hangs ends when it answers.
_AWAIT = "until cat /etc/pve/.version >/dev/null 2>&1; do sleep 5; done; systemctl --no-block start pvehooks.service || :"


def ensure_startable(host: Host, output: Journal | Lines) -> bool:
    """Whether it can; if not, the cause is logged, and the daemon is started once that is over, unless it is stopped before."""
    if not pmxcfs.answers(host, _PATIENCE):
        what, remedy = pmxcfs.hanging(host)
        what = f"pmxcfs hangs: {what}. Until it answers, VMs can be neither started nor changed"
    elif pmxcfs.is_dead(host):
        what, remedy = f"pmxcfs has ended, and nothing answers at {pmxcfs.PVE}", f"Start it again: {pmxcfs.RESTART}"
    else:
        return True
    output.write(event("pmxcfs-away", f"{what}. pvehooks starts once it answers. {remedy}", ""))
    properties = ("--property=PartOf=pvehooks.service", "--property=KillMode=process", "--description=Starts pvehooks once pmxcfs answers")
    host.make_dir(os.path.dirname(_WAITS))
    host.replace(_WAITS, b"")
    with contextlib.suppress(CommandTrouble):
        host.spawn(["systemd-run", "--quiet", "--no-block", "--collect", f"--unit={_UNIT}", *properties, "sh", "-c", _AWAIT], timeout=5.0)
    return False
