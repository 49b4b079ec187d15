"""Which result was made of what, and whether it is still true. Pure: no engine, no shell, no clock."""
