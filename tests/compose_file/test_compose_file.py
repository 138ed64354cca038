"""docker-compose.yml keeps what it promises of every service, as Compose itself understands it."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from officeops.process import Command, run
from officeops.runbook.load import read_runbook
from officeops.settings.generate import ensure_env
from officeops.settings.model import Settings
from officeops.stack.compose.names import everything
from tests.support.engine import Engine
from tests.support.site import PROJECT
from tests.support.stack import ODD

ROLLED = {f"{name}-{colour}" for name in ("backend", "frontend") for colour in ("blue", "green")}
APPLICATION = {*ROLLED, "postgres", "redis", "ollama", "caddy"}
PREFECT = {"prefect-postgres", "prefect-server", "prefect-worker", "prefect-watcher", "prefect-bootstrap"}
THAT_END = {"volumes", "prefect-volumes", "prefect-bootstrap"}
OWN_IMAGES = {*ROLLED, "prefect-server", "prefect-worker", "prefect-watcher", "prefect-bootstrap"}
Described = dict[str, Any]
Describe = Callable[..., Described]


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A .env as `officeops up` makes it, and nothing more."""
    folder = tmp_path_factory.mktemp("generated")
    shutil.copy(PROJECT / ".env.example", folder)
    ensure_env(folder)
    return folder / ".env"


@pytest.fixture(scope="module")
def describe(env: Path, engine: Engine) -> Describe:
    """What Compose makes of the file. files: merged in behind it; keyword arguments are variables of its environment."""

    def described(*files: Path, **environment: str) -> Described:
        named = [part for file in (PROJECT / "docker-compose.yml", *files) for part in ("--file", str(file))]
        argv = ("docker", "compose", "--project-directory", str(PROJECT), "--env-file", str(env), *named, "--profile", "*")
        command = Command((*argv, "config", "--format=json"), {"DOCKER_CONFIG": str(engine.docker_config), **environment})
        found = json.loads(run(command, timeout=60).stdout)
        assert isinstance(found, dict)
        return found

    return described


@pytest.fixture(scope="module")
def described(describe: Describe) -> Described:
    """With the generated .env alone."""
    return describe()


@pytest.fixture(scope="module")
def services(described: Described) -> dict[str, Described]:
    """Its services."""
    return dict(described["services"])


def seconds(duration: str) -> float:
    """A duration as Compose writes it."""
    found = re.fullmatch(r"(?:(\d+)m)?(?:(\d+)s)?", duration)
    assert found, duration
    return 60 * int(found[1] or 0) + int(found[2] or 0)


def test_it_has_the_services_and_volumes_that_the_runbook_names(described: Described) -> None:
    runbook, _ = read_runbook(PROJECT / "runbook.yaml")
    assert runbook is not None
    without_profile = {name for name, service in described["services"].items() if not service.get("profiles")}
    assert without_profile - THAT_END == set(everything(runbook, "blue")) | set(everything(runbook, "green")) == APPLICATION
    assert set(runbook.volumes) <= set(described["volumes"])
    assert {name for name, service in described["services"].items() if service.get("profiles") == ["prefect"]} == PREFECT | {
        "prefect-volumes"
    }


def test_every_service_is_asked_whether_it_is_well_unless_it_ends(services: dict[str, Described]) -> None:
    for name, service in services.items():
        assert service["healthcheck"].get("disable", False) == (name in THAT_END), name
        assert service["restart"] == ("no" if name in THAT_END else "unless-stopped"), name


def test_no_check_starts_an_interpreter_or_comes_more_often_than_it_is_worth(services: dict[str, Described]) -> None:
    waits = [one for service in services.values() for one in service.get("depends_on", {}).items()]
    waited_for = {name for name, how in waits if how["condition"] == "service_healthy"}
    assert waited_for == {"postgres", "prefect-postgres", "prefect-server"}
    for name in services.keys() - THAT_END:
        check = services[name]["healthcheck"]
        assert "python" not in str(check["test"]), name
        assert 5 <= seconds(check["interval"]) <= 10 if name in waited_for else seconds(check["interval"]) >= 30, name
        assert "start_interval" not in check, "an engine before 25 refuses it"


def test_every_service_has_limits_and_as_few_rights_as_it_can_do_with(services: dict[str, Described]) -> None:
    rights = {name: ["CHOWN"] for name in ("volumes", "prefect-volumes")}
    rights |= {name: ["NET_BIND_SERVICE"] for name in ("caddy", "frontend-blue", "frontend-green")}
    for name, service in services.items():
        assert int(service["mem_limit"]) >= 64 * 2**20, name
        assert service["logging"] == {"driver": "json-file", "options": {"max-file": "3", "max-size": "10m"}}, name
        assert (service["init"], service["read_only"]) == (True, True), name
        assert service["cap_drop"] == ["ALL"], name
        assert service.get("cap_add", []) == rights.get(name, []), name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not service.get("privileged"), name


def test_only_the_front_door_is_published_and_the_prefect_ui_on_loopback(services: dict[str, Described]) -> None:
    published = {
        name: [(port.get("host_ip"), port["published"], port["target"]) for port in service["ports"]]
        for name, service in services.items()
        if service.get("ports")
    }
    assert published == {
        "caddy": [(None, "8080", 80), (None, "8443", 443)],
        "prefect-server": [("127.0.0.1", "14200", 4200)],
    }


def test_prefects_server_and_database_are_on_a_network_of_their_own_and_the_worker_on_both(services: dict[str, Described]) -> None:
    networks = {name: set(service.get("networks") or {"none"}) for name, service in services.items()}
    assert {name for name in networks if "prefect" in networks[name]} == PREFECT
    assert {name for name in networks if "default" in networks[name]} == APPLICATION | {"prefect-worker", "prefect-watcher"}
    assert {name for name in networks if "prefect-ui" in networks[name]} == {"caddy", "prefect-server"}, "its database is not seen"


def test_the_colours_of_a_service_differ_in_nothing(services: dict[str, Described]) -> None:
    for name in ("backend", "frontend"):
        assert services[f"{name}-blue"] == services[f"{name}-green"]


def test_the_front_door_sees_the_gates_as_a_folder_that_it_cannot_change_and_waits_for_no_colour(describe: Describe) -> None:
    caddy = describe(OFFICEOPS_HOME="/srv/the office")["services"]["caddy"]
    (gate,) = [mount for mount in caddy["volumes"] if mount["target"] == caddy["environment"]["GATE_DIR"]]
    assert (gate["type"], gate["source"], gate["read_only"]) == ("bind", "/srv/the office/gate", True)
    assert not set(caddy["depends_on"]) & ROLLED


def test_a_stop_may_take_longer_than_what_has_to_end_first(services: dict[str, Described]) -> None:
    grace = {name: seconds(service.get("stop_grace_period", "10s")) for name, service in services.items()}
    assert grace["backend-blue"] > int(services["backend-blue"]["environment"]["DRAIN_SECONDS"])
    proxy = re.search(r"grace_period (\d+)s", (PROJECT / "caddy" / "Caddyfile").read_text())
    assert proxy
    assert grace["caddy"] > int(proxy[1])
    assert grace["postgres"] >= 60


def test_images_have_tags_and_none_is_the_latest(services: dict[str, Described]) -> None:
    for name, service in services.items():
        repository, _, tag = service["image"].rpartition(":")
        assert repository, name
        assert tag not in ("", "latest"), name


def test_images_are_those_of_the_settings_and_each_can_be_replaced(describe: Describe, services: dict[str, Described]) -> None:
    keys = [name for name in Settings.model_fields if name.endswith("_image")]
    defaults = [Settings.model_fields[name].default for name in keys]
    assert all(default in json.dumps(services) for default in defaults)
    replaced = json.dumps(describe(**{name.upper(): f"registry.example/{name}:1" for name in keys}))
    assert all(f"registry.example/{name}:1" in replaced for name in keys)
    assert not any(default in replaced for default in defaults)


def test_what_is_built_here_is_named_by_its_release_and_never_fetched(describe: Describe) -> None:
    found = describe(RELEASE_SHA="0a" * 20, WORKER_TAG="0b0b", COMPOSE_PROJECT_NAME="office_two")["services"]
    for colour in ("blue", "green"):
        assert found[f"backend-{colour}"]["image"] == f"office_two-backend:{'0a' * 20}"
        assert found[f"frontend-{colour}"]["image"] == f"office_two-frontend:{'0a' * 20}"
    assert {found[name]["image"] for name in PREFECT - {"prefect-postgres"}} == {"office_two-worker:0b0b"}
    assert {name for name, service in found.items() if service.get("pull_policy") == "never"} == OWN_IMAGES


def test_two_projects_on_one_host_share_nothing(describe: Describe) -> None:
    one, other = (describe(COMPOSE_PROJECT_NAME=name) for name in ("office_one", "office_two"))
    for kind in ("networks", "volumes"):
        names = [{part["name"] for part in found[kind].values()} for found in (one, other)]
        assert not names[0] & names[1]
    assert not any("container_name" in service for service in one["services"].values())


@pytest.mark.parametrize("odd", [*ODD.values(), "${HOME}", "$$", "a'b\"c", "事務所 の 鍵"])
def test_secrets_arrive_as_they_are(describe: Describe, odd: str) -> None:
    given = {"POSTGRES_PASSWORD": odd, "JWT_SECRET_KEY": odd, "PREFECT_POSTGRES_PASSWORD": odd, "PREFECT_AUTH_STRING": odd}
    found = describe(**given)["services"]

    def environment(service: str, key: str) -> str:
        return str(found[service]["environment"][key]).replace("$$", "$")  # `config` writes what can be read again

    for service, key in (
        ("postgres", "POSTGRES_PASSWORD"), ("backend-blue", "PGPASSWORD"), ("backend-green", "JWT_SECRET_KEY"),
        ("prefect-postgres", "POSTGRES_PASSWORD"), ("prefect-server", "PREFECT_SERVER_DATABASE_PASSWORD"),
        ("prefect-server", "PREFECT_SERVER_API_AUTH_STRING"), ("prefect-worker", "PREFECT_API_AUTH_STRING"),
    ):  # fmt: skip
        assert environment(service, key) == odd, (service, key)


def test_no_secret_is_in_a_command_a_label_or_an_argument_of_a_build(describe: Describe) -> None:
    found = describe(
        **dict.fromkeys(("POSTGRES_PASSWORD", "JWT_SECRET_KEY", "PREFECT_POSTGRES_PASSWORD", "PREFECT_AUTH_STRING"), "Tell-Tale-Value")
    )
    for name, service in found["services"].items():
        others = {key: value for key, value in service.items() if key != "environment"}
        assert "Tell-Tale-Value" not in json.dumps(others), name


def test_without_an_address_http_stays_http_and_with_one_it_leads_to_https(describe: Describe) -> None:
    def given(**environment: str) -> tuple[str, str, str]:
        found = describe(**environment)["services"]["caddy"]["environment"]
        return found["SITE_ADDRESS"], found["SITE_OPTIONS"], found["SITE_TLS"]

    inside = (
        f"http://:{describe()['services']['caddy']['labels']['officeops.front-door']}"  # where `officeops` asks, whatever the address is
    )
    assert given() == (f"http://, https://localhost, {inside}", "auto_https disable_redirects", "")
    assert given(SITE_ADDRESS="office.lan", SITE_TLS="internal") == (
        f"office.lan, {inside}",
        "# auto_https disable_redirects",
        "tls internal",
    )


def test_the_example_of_the_files_head_gives_the_model_a_gpu(describe: Describe, tmp_path: Path) -> None:
    head = (PROJECT / "docker-compose.yml").read_text().split("name: smartoffice_ai")[0]
    example = "\n".join(line.removeprefix("# ").removeprefix("#") for line in head.splitlines() if line.startswith("#  "))
    assert yaml.safe_load(example)["services"]["ollama"]["deploy"]
    (tmp_path / "override.yml").write_text(example)
    found = describe(tmp_path / "override.yml")["services"]["ollama"]
    assert found["deploy"]["resources"]["reservations"]["devices"][0]["driver"] == "nvidia"
    assert found["user"] == "10003:10003"


def test_without_its_env_it_says_who_makes_it(engine: Engine) -> None:
    argv = (
        "docker",
        "compose",
        "--project-directory",
        str(PROJECT),
        "--env-file",
        os.devnull,
        "--file",
        str(PROJECT / "docker-compose.yml"),
    )
    done = run(Command((*argv, "config"), {"DOCKER_CONFIG": str(engine.docker_config)}), timeout=60, ok=range(256))
    assert done.status != 0
    assert "is in the .env that `officeops up` makes" in done.stderr
