"""What a process has around the code that it runs, and how that is kept like the kernel's."""
