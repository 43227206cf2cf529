"""Files of procfs come a page at a time: they are read to their end all the same."""

from __future__ import annotations

from pvehooks.host import Host


def test_a_file_of_many_pages() -> None:
    content = Host().read("/proc/self/smaps")
    assert len(content) > 1 << 14
    assert content.splitlines()[-1].startswith(b"VmFlags:")


def test_a_part_of_it() -> None:
    assert len(Host().read("/proc/self/smaps", limit=9999)) == 10000
