"""Pages of shared memory that processes write one row each of: the board, the ledger, unsent results."""
