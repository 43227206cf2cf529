"""Rules on the node itself: how it boots, and whether devices can be passed through. `pvehooks host check` asks them."""
