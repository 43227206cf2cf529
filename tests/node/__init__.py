"""The package on systems that boot: real apt, dpkg and systemd, with the stand-ins for pmxcfs and qm."""
