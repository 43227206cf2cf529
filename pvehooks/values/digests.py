"""SHA-1 without OpenSSL: hashlib loads it, which costs 2 ms at every start of the hookscript and 3 MB of memory in the daemon.

The standard library's random module avoids it in the same way.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hashlib import sha1 as _sha1
else:
    try:
        from _sha1 import sha1 as _sha1
    except ImportError:
        from hashlib import sha1 as _sha1


def sha1(content: bytes) -> bytes:
    """The digest that PVE identifies a config by (20 bytes); `qm set --digest` takes it in hexadecimal."""
    return _sha1(content, usedforsecurity=False).digest()
