"""The worker's side: the supervisor that forks workers, and what runs inside them."""
