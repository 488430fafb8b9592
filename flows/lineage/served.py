"""What a running server says it serves."""

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

from infra.store.errors import InputError

_SECONDS = 10.0


def served_version(url: str) -> dict[str, Any]:
    """The answer of `/version`: model, kind, package, weights_sha256. Raises InputError where no such server answers."""
    mend = "Name the address of a running `slipway serve`, or of a deployed target."
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # asked is this server, and no proxy in its place
    try:
        with direct.open(f"{url.rstrip('/')}/version", timeout=_SECONDS) as answer:
            told = json.loads(answer.read(1_000_000))
    except urllib.error.HTTPError as error:
        raise InputError(f"no model server: /version answers {error.code}", where=url, mend=mend) from None
    except (OSError, urllib.error.URLError) as error:
        reason = getattr(error, "reason", error)
        raise InputError(f"nothing answers there ({reason})", where=url, mend=mend) from None
    except ValueError:
        raise InputError("no model server: /version is not JSON", where=url, mend=mend) from None
    if not isinstance(told, Mapping) or "weights_sha256" not in told:
        raise InputError("no model server: /version does not say which weights are served", where=url, mend=mend)
    return dict(told)
