"""`LocalEngine`: the embedded engine, workers on this machine."""
