"""The watcher finds the Prefect server where the control plane puts it."""

from __future__ import annotations

from collections.abc import Callable

from deployments.control_plane import api_url, pool_name
from officeops.probes.plane import api
from officeops.site import Site


def test_there_is_one_address(new_site: Callable[..., Site]) -> None:
    site = new_site()
    assert api(site) == api_url(site.config.settings)
    assert pool_name(site.name) == f"officeops-{site.name}"
