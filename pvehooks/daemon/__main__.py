"""`python3 -m pvehooks.daemon`."""

import sys

from pvehooks.daemon.main import main

sys.exit(main())
