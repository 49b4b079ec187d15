"""The process around the user's code, and how a worker's is kept like the kernel's."""
