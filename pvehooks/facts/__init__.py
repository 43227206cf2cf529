"""What is: readers that turn the node's files into values, one subject a file."""
