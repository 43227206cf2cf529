"""pvehooks host: the node itself, and whether its devices can be passed through."""
