"""Results that outlive the kernel: a key of everything a result depends on, and a folder that keeps it."""
