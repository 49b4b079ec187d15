"""Objects of the driver: reading them, waiting for them, and room for them in the store."""
