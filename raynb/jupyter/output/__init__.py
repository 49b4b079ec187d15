"""Output of tasks: routing it to its cell, folding it, showing errors and refs."""
