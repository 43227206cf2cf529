"""What attackers run inside a booted node, each a program of its own; none needs anything but Debian's Python and fusepy."""
