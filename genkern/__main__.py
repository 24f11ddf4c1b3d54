"""``python -m genkern``: the command line."""

import sys

from genkern.cli import main

if __name__ == "__main__":
    sys.exit(main())
