"""Speaking with an S3 server: a client made from the ecosystem's own variables, and its errors as sentences."""

import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, TypeVar

from infra.store.errors import NotFoundError, StoreError

if TYPE_CHECKING:
    from botocore.exceptions import ClientError
    from mypy_boto3_s3.client import S3Client

T = TypeVar("T")
CONNECTIONS: Final = 32
_PAUSE: Final = 0.05  # seconds, three times as long after each attempt
_BUSY: Final = {"RequestTimeout", "SlowDown", "Throttling", "ThrottlingException", "BadDigest", "IncompleteBody"}
_reached = False
_MISSING: Final = {"NoSuchKey", "404", "NotFound"}
_KEYS: Final = "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, to keys that may use it."
_ELSEWHERE: Final = "or set SLIPWAY_STORE to another bucket or to a folder."
_making = threading.Lock()  # sessions of botocore are not made in two threads at once


def connect() -> "S3Client":
    """This process's client for AWS_ENDPOINT_URL, AWS_PROFILE and the other AWS_* as they are now. Asks the network nothing."""
    variables = tuple(sorted((name, value) for name, value in os.environ.items() if name.startswith("AWS_")))
    with _making:
        return _client(os.getpid(), variables)


@lru_cache(maxsize=4)
def _client(pid: int, variables: tuple[tuple[str, str], ...]) -> "S3Client":
    import boto3  # half a second, which only who uses S3 pays
    from botocore.config import Config

    given = dict(variables)
    options: dict[str, Any] = {"connect_timeout": 5, "read_timeout": 60, "max_pool_connections": CONNECTIONS}
    options["retries"] = {"total_max_attempts": 1}  # `repeat` does it
    if given.keys() & {"AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"}:
        options["s3"] = {"addressing_style": "path"}  # a server of one's own seldom has a name for each bucket
    # We send an MD5 with every body, which servers check that know nothing of the newer checksums, and keep a sha256 beside it.
    for name in ("AWS_REQUEST_CHECKSUM_CALCULATION", "AWS_RESPONSE_CHECKSUM_VALIDATION"):
        if name not in given:
            options[name.removeprefix("AWS_").lower()] = "when_required"
    return boto3.session.Session().client("s3", config=Config(**options))


def told(error: "ClientError") -> tuple[int, str]:
    """The HTTP status and the code that the server answered with."""
    answer: Any = error.response
    return int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)), str(answer.get("Error", {}).get("Code", ""))


def repeat(call: Callable[[], T]) -> T:
    """`call()`, again after a pause while the server is away, busy or failing. The body of an answer may be read in it too.

    Six times before it gives up (AWS_MAX_ATTEMPTS says otherwise), 6 seconds in all; a server that this process never reached
    gets a second, since then it is the address that is wrong.
    """
    global _reached  # noqa: PLW0603 - of the process, as the connection is
    attempts = int(os.environ.get("AWS_MAX_ATTEMPTS") or (6 if _reached else 4))
    for attempt in range(attempts):
        try:
            answer = call()
        except Exception as error:
            if attempt == attempts - 1 or not _may_pass(error):
                raise
            time.sleep(_PAUSE * 3**attempt * random.uniform(0.5, 1.5))
        else:
            _reached = True
            return answer
    return call()


def _may_pass(error: Exception) -> bool:
    from botocore import exceptions as boto

    if isinstance(error, boto.ClientError):
        status, code = told(error)
        return status in {409, 429, 500, 502, 503, 504} or code in _BUSY
    passing = boto.ConnectionError | boto.HTTPClientError | boto.IncompleteReadError
    return isinstance(error, passing) and not isinstance(error, boto.SSLError)


@contextmanager
def errors(bucket: str, where: str) -> Iterator[None]:
    """Turns what boto3 raises into StoreError or NotFoundError about `where`, with the mend."""
    from botocore import exceptions as boto

    try:
        yield
    except boto.ClientError as error:
        raise _answered(error, bucket, where) from None
    except (boto.NoCredentialsError, boto.PartialCredentialsError, boto.CredentialRetrievalError, boto.TokenRetrievalError):
        raise StoreError("no credentials for S3 were found", where=where, mend=_KEYS) from None
    except (boto.ProfileNotFound, boto.ConfigParseError, boto.NoRegionError) as error:
        raise StoreError(f"S3 is not set up: {_said(error)}", where=where, mend="Mend AWS_PROFILE, or ~/.aws/config.") from None
    except (boto.ParamValidationError, boto.UnknownEndpointError, ValueError) as error:
        mend = f"Mend AWS_ENDPOINT_URL (such as https://host:9000) or the bucket's name, {_ELSEWHERE}"
        raise StoreError(f"S3 cannot be asked: {_said(error)}", where=where, mend=mend) from None
    except boto.SSLError as error:
        mend = "Set AWS_CA_BUNDLE to the file with the server's certificate authority, or mend AWS_ENDPOINT_URL."
        raise StoreError(f"the S3 server's certificate is not trusted: {_said(error)}", where=where, mend=mend) from None
    except (boto.ConnectionError, boto.HTTPClientError, boto.IncompleteReadError) as error:
        mend = f"Start the server, mend AWS_ENDPOINT_URL, {_ELSEWHERE}"
        raise StoreError(f"the S3 server cannot be reached: {_said(error)}", where=where, mend=mend) from None
    except boto.BotoCoreError as error:
        raise StoreError(
            f"S3 cannot be used: {_said(error)}", where=where, mend=f"Mend the AWS_* variables, {_ELSEWHERE}"
        ) from None


def _answered(error: "ClientError", bucket: str, where: str) -> StoreError:
    status, code = told(error)
    if code == "NoSuchBucket":
        return StoreError(f"there is no bucket {bucket}", where=where, mend=f"Make it: aws s3 mb s3://{bucket}, {_ELSEWHERE}")
    if code in _MISSING:
        return NotFoundError("no such file in the store", where=where)
    if code in {"InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "RequestTimeTooSkewed"}:
        return StoreError(f"the S3 server does not take the credentials ({code})", where=where, mend=_KEYS)
    if status in {401, 403}:
        mend = f"Ask for leave to read, write, list and delete there, {_ELSEWHERE}"
        return StoreError(f"the S3 server denies it ({code or status})", where=where, mend=mend)
    message = str(error.response.get("Error", {}).get("Message", "")) or "no reason given"
    what = f"the S3 server answers {status} ({code}: {message})"
    return StoreError(what, where=where, mend="Look at the server; what was finished is safe, start again when it is well.")


def _said(error: Exception) -> str:
    return " ".join(str(error).split())
