"""`python3 -m pvehooks` is the same as the installed command `pvehooks`."""

import sys

from pvehooks.cli.main import main

sys.exit(main())
