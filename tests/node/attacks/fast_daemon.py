"""The installed daemon with all of its own pauses divided by 60: what it does in an hour, it does in a minute."""

import sys

from pvehooks.daemon import availability, jobs, loop, main, observer, results

SCALE = 60.0

for module in (availability, jobs, loop, results):
    vars(module)["RETRY_PAUSES"] = tuple(pause / SCALE for pause in vars(module)["RETRY_PAUSES"])
availability._QUORUM_PATIENCE /= SCALE
availability._STUCK_AFTER /= SCALE
observer._QUORUM_PAUSE /= SCALE

sys.exit(main.main())
