"""Where the application runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from officeops.stack.port import DatabaseAddress, LogLine, Release, ServiceStatus, Stack, Usage

if TYPE_CHECKING:
    from officeops.config import Config

__all__ = ["DatabaseAddress", "LogLine", "Release", "ServiceStatus", "Stack", "Usage", "open_stack"]


def open_stack(config: Config) -> Stack:
    """The stack that OFFICEOPS_STACK names. Nothing is asked or started yet."""
    if config.settings.officeops_stack == "compose":
        from officeops.stack.compose.stack import ComposeStack

        return ComposeStack(config)
    from officeops.stack.local.stack import LocalStack

    return LocalStack(config)
