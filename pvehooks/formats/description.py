"""Comments in VM configs are the guest's description, URL-encoded (encode_text and decode_text in PVE/ParseUtils.pm)."""

import re

from pvehooks.values.base import NamedTuple

_PERL_SPACE = "\t\n\v\f\r \x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000"
"""What \\s matches in a decoded string of Perl: not what str.strip() takes off."""

_CHARACTER = (
    rb"[\x00-\x7f]+|[\xc0-\xdf][\x80-\xbf]?|[\xe0-\xef][\x80-\xbf]{0,2}|[\xf0-\xf7][\x80-\xbf]{0,3}"
    rb"|[\xf8-\xfb][\x80-\xbf]{0,4}|[\xfc-\xfd][\x80-\xbf]{0,5}|\xfe[\x80-\xbf]{0,6}|\xff[\x80-\xbf]{0,12}|[\x80-\xbf]"
)
"""The bytes for which Perl's Encode puts one U+FFFD when they are no character; Python's codec counts them otherwise."""

_ESCAPE = rb"%([0-9A-Fa-f]{2})"


class Decoded(NamedTuple):
    """`intact` is False where bytes were not UTF-8: PVE puts U+FFFD in their place and writes that back."""

    text: str
    intact: bool


def decode(encoded: str) -> Decoded:
    """The text that PVE reads from `encoded`, a part of a line with its undecodable bytes escaped (surrogateescape).

    Unlike PVE's it never holds surrogates, which could not be printed: each is U+FFFD.
    """
    if "%" not in encoded and encoded.isascii():
        return Decoded(encoded, True)
    raw = re.sub(_ESCAPE, lambda match: bytes([int(match[1], 16)]), encoded.encode(errors="surrogateescape"))
    try:
        return Decoded(_printable(raw.decode(errors="surrogatepass")), True)
    except UnicodeDecodeError:
        return Decoded("".join(map(_character, re.findall(_CHARACTER, raw))), False)


def _printable(text: str) -> str:
    return re.sub("[\ud800-\udfff]", "\ufffd", text)


def _character(raw: bytes) -> str:
    try:
        return _printable(raw.decode(errors="surrogatepass"))
    except UnicodeDecodeError:
        return "\ufffd"


def strip_end(text: str) -> str:
    """`text` without the white space at its end, as PVE ends a description."""
    return text.rstrip(_PERL_SPACE)
