"""pvehooks host: the node itself, and whether its devices can be passed through."""

SUMMARY = "check this node for passthrough, show IOMMU groups, fix settings"
EXAMPLE = "pvehooks host check"
GROUPS = {"Actions": ("check", "groups", "fix", "undo")}
