"""What differs from host to host, and the secrets: `.env`."""

from officeops.settings.model import Settings

__all__ = ["Settings"]
