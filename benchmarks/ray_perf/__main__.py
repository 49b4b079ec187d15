"""``python -m benchmarks.ray_perf``."""

import sys

from benchmarks.compare import end_in_order
from benchmarks.ray_perf.runner import main

end_in_order()
sys.exit(main())
