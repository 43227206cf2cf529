"""pvehooks host: the node itself, and whether its devices can be passed through."""

SUMMARY = "check this node for passthrough, show its IOMMU groups, and fix its configuration"
EXAMPLE = "pvehooks host check"
GROUPS = {"Actions": ("check", "groups", "fix", "undo")}
