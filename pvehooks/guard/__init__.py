"""The guard's parts: the process that is killed at its deadline, the look at a start, and the decision without a look."""
