"""The magics: parsing their lines, and delegating."""
