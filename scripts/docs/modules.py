"""The names of the files with rules for starts, so that the hookscript notices when one is missing."""

from __future__ import annotations

from pvehooks.rules import engine
from scripts.docs.roff import NOTE

_DOCSTRING = "Rules for starts: the hookscript evaluates them before a start, and every audit does. The hookscript loads no others."


def make() -> str:
    """The package of these rules: pvehooks/rules/start/__init__.py."""
    names = "".join(f'    "{name}",\n' for name in engine.modules(engine.START))
    return f'''"""{_DOCSTRING}"""

# {NOTE}
# The files that must exist. A file that is not listed here is evaluated as well.
MODULES = (
{names})
'''
