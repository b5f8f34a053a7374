"""`python -m sstlib` is `sst`; torchrun starts training this way."""

import sys

from sstlib.cli import main

if __name__ == "__main__":
    sys.exit(main())
