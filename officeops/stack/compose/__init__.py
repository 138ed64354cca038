"""The stack on Docker Compose and a Docker Engine."""
