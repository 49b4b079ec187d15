"""Names of Ray: the import hook, its id classes, and its libraries that raynb does not have."""
