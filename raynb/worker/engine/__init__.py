"""The engine inside a worker: the `Engine` interface over its channels."""
