"""Smart Office AI: the backend."""
