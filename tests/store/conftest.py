"""The stores under test: a folder, and a bucket on a real S3 API."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from officeops.settings import Settings
from officeops.store import Store, open_store
from tests.support.disks import tiny_disk
from tests.support.s3 import KEYS, S3Endpoint, misbehaving

NewStore = Callable[[], Store]


def settings() -> Settings:
    """As much of `.env` as a store needs."""
    words = dict.fromkeys(("postgres_password", "jwt_secret_key", "prefect_auth_string", "prefect_postgres_password"), SecretStr("x"))
    keys = {name.lower(): SecretStr(value) for name, value in KEYS.items()}
    return Settings.model_validate({**words, **keys})


def s3_store(endpoint: S3Endpoint, bucket: str, prefix: str = "the prefix") -> Store:
    return open_store(f"s3://{bucket}/{prefix}?endpoint={endpoint.url}", settings())


@pytest.fixture(params=["file", "s3"])
def new_store(request: pytest.FixtureRequest, folder: Path) -> NewStore:
    """Opens one more Store object on the same, at first empty, place."""
    if request.param == "file":
        return lambda: open_store(f"file:{folder}/the store", settings())
    endpoint: S3Endpoint = request.getfixturevalue("s3")
    bucket = endpoint.new_bucket()
    return lambda: s3_store(endpoint, bucket)


@pytest.fixture
def store(new_store: NewStore) -> Store:
    return new_store()


@pytest.fixture
def bucket(s3: S3Endpoint) -> str:
    return s3.new_bucket()


@pytest.fixture
def leftovers(s3: S3Endpoint, bucket: str) -> Callable[[], tuple[int, int]]:
    """How many objects and how many unfinished uploads the bucket holds."""

    def count() -> tuple[int, int]:
        client: Any = s3.client()
        return client.list_objects_v2(Bucket=bucket)["KeyCount"], len(client.list_multipart_uploads(Bucket=bucket).get("Uploads", []))

    return count


@pytest.fixture
def full_disk(folder: Path) -> Iterator[Path]:
    """A real file system with room for 256 kB."""
    with tiny_disk(folder / "tiny") as place:
        yield place


@pytest.fixture
def one_at_a_time(s3: S3Endpoint) -> Iterator[S3Endpoint]:
    with misbehaving(s3, lambda _method, _path: None, one_at_a_time=True) as endpoint:
        yield endpoint
