"""What is done in a process of its own, a copy of this one: killed, limited, or as another user."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable


def forked(action: Callable[[], object]) -> int:
    """Its exit code, 0 where the action returns, 1 where it raises, the signal as a negative number; never a second pytest that goes on."""
    pid = os.fork()
    if not pid:
        try:
            action()
            os._exit(0)
        except BaseException:  # noqa: BLE001 - the process ends here
            traceback.print_exc()
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
