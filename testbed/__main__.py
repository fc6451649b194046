"""``python -m testbed``: the ``gse`` command."""

import sys

from testbed.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
