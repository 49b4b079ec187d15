"""Ray's place for things that may change: here only names that programs import from it."""
