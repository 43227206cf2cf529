"""What it means for the node itself: rules on how it boots and whether devices can be passed through, one subject a file."""
