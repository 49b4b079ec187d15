"""``python -m benchmarks``: the comparison."""

import sys

from benchmarks.compare import end_in_order, main

end_in_order()
sys.exit(main())
