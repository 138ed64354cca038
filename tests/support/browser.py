"""A person in front of the Prefect UI: Debian's Chromium, driven by playwright. Looks for what people read, not for classes of the page."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests.support.apart import door
from tests.support.paths import open_folder
from tests.support.site import PROJECT

if TYPE_CHECKING:
    from playwright.sync_api import Page

REQUIRED = "OFFICEOPS_REQUIRE_BROWSER"
_PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
_WAIT_MS = 60_000


def chromium() -> str:
    """Its path. Skips the test without one, or fails where a browser must be."""
    found = next(filter(None, map(shutil.which, _PROGRAMS)), None)
    if found is None:
        why = "there is no Chromium (`apt-get install chromium`)"
        if os.environ.get(REQUIRED) == "1":
            pytest.fail(why)
        pytest.skip(why)
    return found


@dataclass
class Person:
    """Somebody at `base`, the address of the UI; `pictures` is where screenshots go, None for none."""

    page: Page
    base: str
    pictures: Path | None = None

    def at(self, path: str) -> None:
        """Opens a page of the UI."""
        self.page.goto(f"{self.base}{path}", wait_until="commit")

    def sees(self, text: str | re.Pattern[str], *, seconds: float = 60) -> None:
        """Waits until it is there to be read."""
        self.page.get_by_text(text).locator("visible=true").first.wait_for(timeout=seconds * 1000)

    def chooses(self, field: str, option: str) -> list[str]:
        """Opens the choices of a field and takes one. Returns all of them."""
        self.page.get_by_text(field, exact=True).locator("xpath=following::button[not(@aria-haspopup='menu')][1]").click()
        chosen = self.page.get_by_role("option", name=option, exact=True)
        chosen.wait_for()
        choices = self.page.get_by_role("option").all_inner_texts()
        chosen.click()
        chosen.wait_for(state="hidden")
        return choices

    def writes(self, field: str, text: str) -> None:
        """Into a field of several lines."""
        self.page.get_by_text(field, exact=True).locator("xpath=following::textarea[1]").fill(text)

    def presses(self, button: str) -> None:
        """The button of that name; in a dialog when one is open."""
        dialog = self.page.get_by_role("dialog")
        (dialog if dialog.count() else self.page).get_by_role("button", name=button, exact=True).click()

    def picks(self, menu: str, item: str) -> None:
        """Opens a menu and takes what it offers."""
        self.page.get_by_role("button", name=menu).first.click()
        self.page.get_by_role("menuitem", name=item, exact=True).click()

    def logs_in(self, authentication: str) -> None:
        """As the login page asks: with the authentication string."""
        self.at("/")
        self.page.get_by_role("textbox").or_(self.page.locator("input[type=password]")).first.fill(authentication)
        self.page.keyboard.press("Enter")
        self.sees("Flow Runs")

    def picture(self, name: str) -> None:
        """A screenshot of what is seen now."""
        if self.pictures is not None:
            self.page.wait_for_timeout(700)  # what moves comes to rest
            self.page.screenshot(path=self.pictures / f"{name}.png")


def _apart(folder: Path, program: str, port: int) -> str:
    """A script that starts the browser in a network of its own; the browser itself where that is not allowed."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        return program
    script = folder / "browser"
    command = ["unshare", "--net", sys.executable, "-m", "tests.support.apart", str(folder / "door"), str(port), program]
    script.write_text(f'#!/bin/sh\nPYTHONPATH={shlex.quote(str(PROJECT))} exec {shlex.join(command)} "$@"\n')
    script.chmod(0o755)
    return str(script)


@contextmanager
def person(base: str, *, pictures: Path | None = None) -> Iterator[Person]:
    """A fresh browser that nobody is logged in with, for the block."""
    program = chromium()
    from playwright.sync_api import sync_playwright

    with open_folder("officeops-browser-") as folder, door(folder / "door", urlsplit(base).port or 80), sync_playwright() as playwright:
        apart = _apart(folder, program, urlsplit(base).port or 80)
        browser = playwright.chromium.launch(executable_path=apart, args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"])
        context = browser.new_context(
            viewport={"width": 1280, "height": 900}, locale="en-GB", timezone_id="Asia/Tokyo", ignore_https_errors=True
        )
        page = context.new_page()
        page.set_default_timeout(_WAIT_MS)
        try:
            yield Person(page, base, pictures)
        finally:
            browser.close()
