"""`python -m structpage`, which is also the command `structpage`."""

from __future__ import annotations

import sys

from structpage.cli import main

if __name__ == "__main__":
    sys.exit(main())
