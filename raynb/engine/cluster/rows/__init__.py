"""What the driver knows of what runs on the cluster, as rows of the views."""
