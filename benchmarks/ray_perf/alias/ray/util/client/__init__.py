"""Ray's client; see `ray_client_helpers`."""
