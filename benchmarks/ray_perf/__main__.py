"""``python -m benchmarks.ray_perf``."""

import sys

from benchmarks.ray_perf.runner import main

sys.exit(main())
