"""The installed daemon with all of its own pauses divided by 60: what it does in an hour, it does in a minute."""

import sys

from pvehooks.daemon import availability, jobs, loop, main, observer, queue, results
from pvehooks.journal import ratelimit

SCALE = 60.0

for name, modules in (("POLL_PAUSES", (availability, loop)), ("RETRY_PAUSES", (jobs, queue, results))):
    for module in modules:
        vars(module)[name] = tuple(pause / SCALE for pause in vars(module)[name])
availability._QUORUM_PATIENCE /= SCALE
availability._STUCK_AFTER /= SCALE
observer._QUORUM_PAUSE /= SCALE
ratelimit._WINDOW /= SCALE
ratelimit._QUIET /= SCALE

sys.exit(main.main())
