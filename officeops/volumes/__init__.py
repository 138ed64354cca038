"""The chapter on volumes: what is kept outside the database's rows, copied while it is still, and restored beside what is live."""
