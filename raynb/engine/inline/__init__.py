"""`InlineEngine`: runs everything in the driver process, for debugging."""
