"""Keeps which result was made of what, and decides whether it is still true. Pure: no engine, no shell, no clock."""
