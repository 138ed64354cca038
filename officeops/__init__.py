"""How a self-hosted application is kept alive: releases, backups, restores, probes. Plain Python; knows nothing of Prefect."""

__version__ = "0.1.0"
