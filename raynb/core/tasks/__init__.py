"""Tasks: submission to end, retries, cancelling, lineage, waits of workers."""
