"""Rules that a start is judged by: the hookscript asks them before it, and every audit. The hookscript loads no others."""

# Made by `make docs` from the code's own tables: an edit here is lost.
# Not what rules there are, but what has to be there: a file that is not listed is asked as well.
MODULES = (
    "devices",
    "firmware_image",
    "groups",
    "mappings",
    "memory",
    "resources",
)
