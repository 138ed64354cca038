"""Both files at once, from the folder that is meant."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from officeops.config import find_folder, load
from officeops.errors import ConfigurationError, UsageError
from officeops.settings.generate import ensure_env
from tests.support.site import PROJECT, RUNBOOK


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "office"
    folder.mkdir()
    (folder / "runbook.yaml").write_text(RUNBOOK)
    (folder / ".env.example").write_text((PROJECT / ".env.example").read_text())
    ensure_env(folder)
    return folder


def test_a_good_folder_is_loaded(project: Path) -> None:
    config = load(project, {})
    assert (config.folder, config.runbook.stack, config.settings.http_port) == (project, "test_office", 8080)


def test_the_mistakes_of_both_files_are_named_at_once_and_nothing_was_run(project: Path) -> None:
    (project / "runbook.yaml").write_text(RUNBOOK.replace("title:", "tittle:").replace("kind: caddy", "kind: candy"))
    (project / ".env").write_text("HTTP_PORT=0\nTZZ=x\n")
    with pytest.raises(ConfigurationError) as refused:
        load(project, {})
    assert refused.value.exit_status == 2
    assert [(problem.file.name, problem.line) for problem in refused.value.problems] == [(".env", 0)] * 4 + [
        (".env", 1),
        (".env", 2),
        ("runbook.yaml", 1),
        ("runbook.yaml", 4),
        ("runbook.yaml", 7),
    ]
    assert str(refused.value).startswith("9 problems in the configuration:\n")
    assert str(refused.value).endswith("Nothing was run. Correct the lines above and try again.")
    assert "runbook.yaml:7: services.caddy.kind: found 'candy'; allowed: app, postgres, redis, ollama, caddy or other" in str(refused.value)


def test_mistakes_in_one_file_do_not_hide_those_of_the_other(project: Path) -> None:
    (project / "runbook.yaml").write_text("a: [\n")
    (project / ".env").unlink()
    with pytest.raises(ConfigurationError) as refused:
        load(project, {})
    assert [problem.file.name for problem in refused.value.problems] == [".env", "runbook.yaml"]


def test_nothing_is_written(project: Path) -> None:
    before = {file: (file.read_bytes(), stat.S_IMODE(file.stat().st_mode)) for file in project.iterdir()}
    load(project, {})
    assert before == {file: (file.read_bytes(), stat.S_IMODE(file.stat().st_mode)) for file in project.iterdir()}


def test_the_folder_is_found_from_below(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "deep" / "down").mkdir(parents=True)
    monkeypatch.chdir(project / "deep" / "down")
    monkeypatch.setenv("OFFICEOPS_DIR", "")
    assert find_folder() == project


def test_a_named_folder_goes_before_the_variable_and_that_before_the_place_where_one_is(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = project.parent / "other"
    other.mkdir()
    (other / "runbook.yaml").touch()
    monkeypatch.chdir(project)
    monkeypatch.setenv("OFFICEOPS_DIR", str(other))
    assert (find_folder(project), find_folder()) == (project, other)


def test_a_named_folder_without_a_runbook_is_an_error_though_there_is_one_above(project: Path) -> None:
    (project / "empty").mkdir()
    with pytest.raises(UsageError, match=r"no runbook\.yaml in .*/office/empty\. Nothing was run"):
        find_folder(project / "empty")
