"""Why a start failed: what the logs of tasks and of the kernel say, in words that help."""
