"""The loop: owns the machine, receives, sends, and wakes waiters."""
