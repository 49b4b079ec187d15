"""``python -m benchmarks.notebook``."""

import sys

from benchmarks.compare import end_in_order
from benchmarks.notebook.runner import main

end_in_order()
sys.exit(main())
