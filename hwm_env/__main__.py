"""`python -m hwm_env` is the command `hwm-env`, for launchers that start modules."""

import sys

from hwm_env.cli import main

if __name__ == "__main__":
    sys.exit(main())
