"""Records what each cell of the notebook was made of, shows it as text and picture, and runs again what is stale."""
