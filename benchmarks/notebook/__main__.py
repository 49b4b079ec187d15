"""``python -m benchmarks.notebook``."""

import sys

from benchmarks.notebook.runner import main

sys.exit(main())
