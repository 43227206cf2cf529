"""What pmxcfs holds: nodes, members, high availability, mappings, summaries."""
