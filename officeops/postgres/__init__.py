"""What is asked of a PostgreSQL server: dump, fingerprint, restore, swap."""
