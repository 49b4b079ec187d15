"""The rows of the views on a cluster: made from workers' reports and Ray's own tables."""
