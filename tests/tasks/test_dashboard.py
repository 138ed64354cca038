"""The page of the stack, as people read it."""

from __future__ import annotations

from collections.abc import Callable

from officeops.site import Site
from tasks.dashboard import stack_page


def test_it_names_the_host_as_people_call_it_and_not_the_container(new_site: Callable[..., Site]) -> None:
    assert "| host | tokyo-1 |" in stack_page(new_site(OFFICEOPS_HOST="tokyo-1"), [], [])
