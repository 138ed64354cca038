"""How one release takes over from another, and how one goes back."""
