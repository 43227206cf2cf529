"""8,000 processes, which anybody may have who has a service or a session (systemd's TasksMax= is 15 % of all there can be)."""

import gc
import os
import signal

PROCESSES = 8_000


def main() -> None:
    gc.freeze()
    for _ in range(PROCESSES):
        if not os.fork():
            signal.pause()
    print("ready", flush=True)
    signal.pause()


main()
