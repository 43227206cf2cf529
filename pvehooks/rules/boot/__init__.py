"""Rules for the next boot: `pvehooks host check --next-boot` evaluates them, for a VM on the node as it will be."""
