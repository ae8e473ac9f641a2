"""`python -m emerge_core` is `emerge`."""

import sys

from emerge_core.cli import main

if __name__ == "__main__":
    sys.exit(main())
