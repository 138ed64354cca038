"""`.env.example` and the model say the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from officeops.settings import Settings
from officeops.settings.document import Explained, explained
from officeops.settings.env import parse_env
from officeops.settings.load import read_settings
from officeops.settings.model import SECRETS
from tests.support.site import PROJECT

EXAMPLE = (PROJECT / ".env.example").read_text(encoding="utf-8")
KEYS = {one.key: one for one in explained(EXAMPLE)}
FIELDS = list(Settings.model_fields)


def test_every_key_is_there_once_in_the_order_of_the_model() -> None:
    entries, problems = parse_env(PROJECT / ".env.example", EXAMPLE)
    assert problems == []
    assert list(entries) == [name.upper() for name in FIELDS]


@pytest.mark.parametrize("name", FIELDS)
def test_a_key_is_explained_in_english_as_the_model_does_and_in_japanese(name: str) -> None:
    one: Explained = KEYS[name.upper()]
    assert one.english == Settings.model_fields[name].description
    assert re.search(r"[\u3040-\u30ff\u4e00-\u9fff]", one.japanese)


def test_the_defaults_are_those_of_the_model(tmp_path: Path) -> None:
    environ = {name.upper(): "user:0123456789abcdef0123456789abcdef" for name in SECRETS}
    as_written = {one.key: one.value for one in KEYS.values() if one.value}
    for folder, keys in (("written", as_written), ("left out", {})):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / ".env").touch(0o600)
        (tmp_path / folder / ".env").write_text("".join(f"{key}={value}\n" for key, value in keys.items()))
    written, problems = read_settings(tmp_path / "written", environ)
    left_out, others = read_settings(tmp_path / "left out", environ)
    assert (problems, others) == ([], [])
    assert str(written).replace("/written", "/left out") == str(left_out)
    assert {name for name in FIELDS if not KEYS[name.upper()].value} >= SECRETS.keys()
