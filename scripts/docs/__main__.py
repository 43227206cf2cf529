"""Rewrites the documents: /usr/bin/python3 -m scripts.docs, in the checkout's root."""

from __future__ import annotations

import sys

from scripts.docs import documents


def main() -> None:
    """The program."""
    changed = documents.write()
    sys.stdout.write("".join(f"rewritten: {name}\n" for name in changed) or "all documents are up to date\n")


if __name__ == "__main__":
    main()
