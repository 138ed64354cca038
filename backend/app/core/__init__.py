"""What every part of the backend uses."""
