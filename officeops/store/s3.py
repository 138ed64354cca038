"""The store in an S3 bucket: AWS, MinIO, R2 and others by endpoint. Only calls that all of them have."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, MutableSequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any, BinaryIO, Self, cast
from urllib.parse import parse_qs, urlsplit

from officeops.errors import DiskFullError, OfficeOpsError, TransientError, UsageError
from officeops.settings import Settings
from officeops.store.port import ObjectExistsError, ObjectInfo, ObjectMissingError, check_key, is_key
from officeops.streams import CHUNK, as_reader

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_MIB = 1 << 20
_PART = 16 * _MIB
_PARTS = 9000  # S3 allows 10,000; an estimate may be short
_IN_MEMORY = 64 * _MIB
_ATTEMPTS = 4
_MISSING = {"404", "NoSuchKey", "NotFound"}
_TAKEN = {"412", "PreconditionFailed"}
_FULL = {"507", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "QuotaExceeded"}
_NEVER = {"501", "NotImplemented"}  # a 5xx that does not pass
_PASSING = {
    "409",
    "429",
    "ConditionalRequestConflict",  # somebody else writes this key right now; whether it will be there is not known yet
    "OperationAborted",
    "SlowDown",
    "RequestTimeout",
    "Throttling",
    "RequestTimeTooSkewed",
}
_WRONG_KEY = {"403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"}


def part_size(estimate: int | None) -> int:
    """Bytes of each part but the last: some stores want them equal. Large enough that `estimate` bytes fit into 9,000 of them."""
    return max(_PART, math.ceil((estimate or 0) / _PARTS / _MIB) * _MIB)


class S3Store:
    """Objects below `prefix` of `bucket`."""

    def __init__(self, bucket: str, prefix: str, endpoint: str | None, settings: Settings) -> None:
        self._bucket, self._prefix, self._endpoint, self._settings = bucket, prefix, endpoint, settings

    @classmethod
    def from_url(cls, url: str, settings: Settings) -> Self:
        """s3://BUCKET/PREFIX?endpoint=URL. Raises UsageError when it has no bucket or an unknown parameter."""
        parts = urlsplit(url)
        query = parse_qs(parts.query)
        if not parts.netloc or "@" in url or set(query) - {"endpoint"} or parts.fragment:
            raise UsageError(
                f"{parts.scheme}://{parts.hostname or ''} is no S3 target.", todo="Use s3://BUCKET/PREFIX?endpoint=URL; keys go into .env."
            )
        prefix = parts.path.strip("/")
        return cls(parts.netloc, f"{prefix}/" if prefix else "", query.get("endpoint", [None])[0], settings)

    @property
    def name(self) -> str:
        return f"s3://{self._bucket}/{self._prefix.rstrip('/')}" + (f"?endpoint={self._endpoint}" if self._endpoint else "")

    @cached_property
    def _client(self) -> S3Client:
        import boto3
        from botocore.config import Config

        config = Config(
            connect_timeout=5,
            read_timeout=60,
            retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
            s3={"addressing_style": "path"} if self._endpoint else {},
            # Stores other than AWS refuse the checksums that boto3 adds by default.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            max_pool_connections=16,
        )
        key, secret = self._settings.aws_access_key_id, self._settings.aws_secret_access_key
        session = boto3.session.Session(
            aws_access_key_id=key.get_secret_value() if key else None,
            aws_secret_access_key=secret.get_secret_value() if secret else None,
            region_name=self._settings.aws_region,
        )
        return session.client("s3", endpoint_url=self._endpoint, config=config)

    def put(self, key: str, chunks: Iterable[bytes], *, estimate: int | None = None) -> ObjectInfo:
        size, at = part_size(estimate), self._at(key)
        parts = _equal_parts(chunks, size)
        first = [next(parts, b"")]  # a list, to hand the part over and not keep it for as long as the upload lasts
        if (written := len(first[0])) < size:
            self._ask("put", key, lambda: self._client.put_object(Bucket=self._bucket, Key=at, Body=first[0]))
        else:
            written = self._upload(key, first, parts, in_flight=max(1, _IN_MEMORY // size))
        found = self.stat(key)
        if found.bytes != written:
            raise OfficeOpsError(f"{self.name}/{key}: {written} bytes were sent and {found.bytes} are there.")
        return found

    def create(self, key: str, data: bytes) -> ObjectInfo:
        from botocore.exceptions import ClientError

        at = self._at(key)
        try:
            self._ask("create", key, lambda: self._client.put_object(Bucket=self._bucket, Key=at, Body=data, IfNoneMatch="*"), raw=True)
        except ClientError as error:
            code = _code(error)
            if code in _TAKEN:
                raise ObjectExistsError(f"{self.name}/{key} exists already.", state="It was left as it was.") from error
            if code not in _NEVER:
                raise self._explained(error, key) from error
            # This store has no conditional writes: look first, which leaves a moment between the two.
            with suppress(ObjectMissingError):
                self.stat(key)
                raise ObjectExistsError(f"{self.name}/{key} exists already.", state="It was left as it was.") from error
            return self.put(key, [data])
        return self.stat(key)

    @contextmanager
    def open(self, key: str) -> Iterator[BinaryIO]:
        head = self._head(key)
        with as_reader(self._bytes(key, head["ETag"], head["ContentLength"])) as reader:
            yield reader

    def stat(self, key: str) -> ObjectInfo:
        head = self._head(key)
        return ObjectInfo(key, head["ContentLength"], head["LastModified"])

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        token: dict[str, Any] = {}
        while True:
            page = self._ask(
                "list",
                prefix,
                lambda token=token: self._client.list_objects_v2(Bucket=self._bucket, Prefix=self._prefix + prefix, **token),
            )
            for found in page.get("Contents", []):
                key = found["Key"].removeprefix(self._prefix)
                if is_key(key):
                    yield ObjectInfo(key, found["Size"], found["LastModified"])
            if not page["IsTruncated"]:
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def delete(self, key: str) -> None:
        at = self._at(key)
        self._ask("delete", key, lambda: self._client.delete_object(Bucket=self._bucket, Key=at))
        for upload in self._unfinished(key):
            self._abort(key, upload)

    def _upload(self, key: str, first: MutableSequence[bytes], rest: Iterator[bytes], *, in_flight: int) -> int:
        """In parts, a few at once; taken back whole when the source or a part fails."""
        address: dict[str, Any] = {"Bucket": self._bucket, "Key": self._at(key)}
        upload = self._ask("put", key, lambda: self._client.create_multipart_upload(**address))["UploadId"]
        etags: dict[int, str] = {}
        written = number = 0

        def send(part_number: int, body: bytes) -> None:
            etags[part_number] = self._ask(
                "put", key, lambda: self._client.upload_part(**address, UploadId=upload, PartNumber=part_number, Body=body)
            )["ETag"]

        try:
            with ThreadPoolExecutor(in_flight) as pool:
                pending: set[Future[None]] = set()
                part: bytes | None = first.pop()
                while part:
                    written, number = written + len(part), number + 1
                    pending.add(pool.submit(send, number, part))
                    part = None  # the pool has it now: holding it too would cost one part more
                    if len(pending) >= in_flight:
                        pending = _finished(pending)
                    part = next(rest, None)
                while pending:
                    pending = _finished(pending)
            listed: Any = [{"PartNumber": number, "ETag": etags[number]} for number in sorted(etags)]
            self._ask(
                "put", key, lambda: self._client.complete_multipart_upload(**address, UploadId=upload, MultipartUpload={"Parts": listed})
            )
        except BaseException:
            self._abort(key, upload)
            raise
        return written

    def _abort(self, key: str, upload: str) -> None:
        with suppress(OfficeOpsError):  # out of reach: deleting the key, or the bucket's own rule for unfinished uploads, ends it later
            self._ask("abort", key, lambda: self._client.abort_multipart_upload(Bucket=self._bucket, Key=self._at(key), UploadId=upload))

    def _unfinished(self, key: str) -> tuple[str, ...]:
        """Uploads of this key that a killed writer left; not every store can list them."""
        try:
            found = self._ask("list", key, lambda: self._client.list_multipart_uploads(Bucket=self._bucket, Prefix=self._at(key)))
        except OfficeOpsError:
            return ()
        return tuple(upload["UploadId"] for upload in found.get("Uploads", []) if upload["Key"] == self._at(key))

    def _bytes(self, key: str, etag: str, length: int) -> Iterator[bytes]:
        """All `length` bytes of that version. A connection that breaks is taken up where it broke, a few times for each stretch."""
        from botocore.exceptions import BotoCoreError
        from urllib3.exceptions import HTTPError

        done, failures = 0, 0
        while done < length:
            try:
                answer = self._ask("open", key, lambda: self._from(key, etag, done))  # noqa: B023 - called at once
                if answer["ContentLength"] != length - done:
                    raise OfficeOpsError(f"{self.name}/{key}: byte {done} and what follows was asked for, and something else came.")
                for chunk in answer["Body"].iter_chunks(CHUNK):
                    done += len(chunk)
                    failures = 0
                    yield chunk
            except (BotoCoreError, HTTPError, OSError) as error:
                failures += 1
                if failures >= _ATTEMPTS:
                    raise TransientError(f"{self.name}/{key} breaks off after {done} of {length} bytes: {error}") from error

    def _from(self, key: str, etag: str, start: int) -> Any:
        return self._client.get_object(Bucket=self._bucket, Key=self._at(key), Range=f"bytes={start}-", IfMatch=etag)

    def _head(self, key: str) -> Any:
        at = self._at(key)
        return self._ask("stat", key, lambda: self._client.head_object(Bucket=self._bucket, Key=at))

    def _at(self, key: str) -> str:
        return self._prefix + check_key(key)

    def _ask(self, _verb: str, key: str, call: Any, *, raw: bool = False) -> Any:
        """Calls, and explains what goes wrong. raw: a refusal by the store comes as it is."""
        from botocore.exceptions import BotoCoreError, ClientError, ConnectionError, HTTPClientError

        try:
            return call()
        except ClientError as error:
            if raw:
                raise
            raise self._explained(error, key) from error
        except BotoCoreError as error:
            if type(error).__name__ in ("NoCredentialsError", "PartialCredentialsError"):
                raise OfficeOpsError(
                    f"{self.name}: there are no credentials.", todo="Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in .env."
                ) from error
            if isinstance(error, ConnectionError | HTTPClientError):
                raise TransientError(
                    f"{self.name} does not answer: {error}", todo="Check the endpoint in BACKUP_TARGETS and the network."
                ) from error
            raise OfficeOpsError(f"{self.name} cannot be used: {error}", todo="Correct BACKUP_TARGETS in .env.") from error

    def _explained(self, error: Any, key: str) -> OfficeOpsError:
        code, message = _code(error), str(error)
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        if code in _MISSING:
            return ObjectMissingError(f"There is no {self.name}/{key}.")
        if code == "NoSuchBucket":
            return OfficeOpsError(
                f"{self.name}: there is no such bucket.", state="Nothing was published.", todo="Create it, or correct BACKUP_TARGETS."
            )
        if code in _WRONG_KEY:
            return OfficeOpsError(
                f"{self.name} refuses this key ({code}).",
                state="Nothing was published.",
                todo="Check AWS_ACCESS_KEY_ID and its rights on the bucket.",
            )
        if code in _FULL or status == 507:
            return DiskFullError(
                f"There is no space left in {self.name} ({code}).", state="Nothing was published.", todo="Free space there and try again."
            )
        if code in _PASSING or (status >= 500 and code not in _NEVER):
            return TransientError(f"{self.name} fails right now: {message}")
        return OfficeOpsError(f"{self.name}/{key}: {message}")


def _code(error: Any) -> str:
    response = error.response
    code = str(response.get("Error", {}).get("Code", ""))
    status = str(response.get("ResponseMetadata", {}).get("HTTPStatusCode", ""))
    return code if code and not code.isdigit() and code != "Unknown" else status or code


def _finished(pending: set[Future[None]]) -> set[Future[None]]:
    """Waits for one; raises what it raised."""
    done, left = wait(pending, return_when=FIRST_COMPLETED)
    for future in done:
        future.result()
    return left


def _equal_parts(chunks: Iterable[bytes], size: int) -> Iterator[bytes]:
    """The same bytes in parts of `size`, the last one shorter or empty never, unless all is empty."""
    filling = [bytearray()]  # a part is handed over, neither copied nor kept: each costs as much memory as an upload in flight
    for chunk in chunks:
        view = memoryview(chunk)
        while view:
            taken = size - len(filling[0])
            filling[0] += view[:taken]
            view = view[taken:]
            if len(filling[0]) == size:
                yield cast(bytes, filling.pop())  # boto3 takes a bytearray as well
                filling.append(bytearray())
    if filling[0]:
        yield cast(bytes, filling.pop())
