"""The `officeops` command."""
