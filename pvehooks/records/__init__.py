"""What we remember, in pmxcfs itself so that all nodes have it: of each guest, and which guests were there first."""
