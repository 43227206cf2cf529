"""60 processes with as many open files as the system lets them have, at most 20,000 each."""

import os
import resource
import signal

PROCESSES, FILES = 60, 20_000


def main() -> None:
    most = min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    for _ in range(PROCESSES):
        ours, theirs = os.pipe()
        if not os.fork():
            descriptor = os.open("/", os.O_RDONLY)
            for _ in range(most - 1000):
                os.dup(descriptor)
            os.write(theirs, b"1")
            signal.pause()
        os.close(theirs)
        assert os.read(ours, 1), "a process has ended"
    print("ready", flush=True)
    signal.pause()


main()
