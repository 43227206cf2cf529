"""The names of the files with rules that a start is judged by, so that the hookscript notices where one is gone."""

from __future__ import annotations

from pvehooks.rules import engine
from scripts.docs.roff import NOTE

_DOCSTRING = "Rules that a start is judged by: the hookscript asks them before it, and every audit. The hookscript loads no others."


def make() -> str:
    """The package of these rules: pvehooks/rules/start/__init__.py."""
    names = "".join(f'    "{name}",\n' for name in engine.modules(engine.START))
    return f'''"""{_DOCSTRING}"""

# {NOTE}
# Not what rules there are, but what has to be there: a file that is not listed is asked as well.
MODULES = (
{names})
'''
