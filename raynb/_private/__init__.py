"""``ray._private``: only what libraries import from it."""
