"""What differs from host to host, and the secrets: the model of `.env`."""

from officeops.settings.model import Settings

__all__ = ["Settings"]
