"""What each cell of the notebook was made of: the record, its words and pictures, and running again what is stale."""
