"""Results of cells that outlive the kernel (``%%remote --keep``)."""
