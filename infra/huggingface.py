"""The Hugging Face hub: a model's revision pinned to a commit, its files fetched into the hub's own cache on this machine.

`huggingface_hub` is loaded where it is needed: it takes half a second. The environment is its own: HF_TOKEN, HF_ENDPOINT, HF_HOME,
HF_HUB_OFFLINE.
"""

import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from infra.store.errors import InputError, SlipwayError

_ADDRESS = re.compile(r"hf://(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
CONFIG: Final = "config.json"
_TEXT: Final = (
    CONFIG,
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "README.md",
)
_LEGAL = re.compile(r"(LICEN[CS]E|NOTICE|USE_POLICY|COPYING)[\w.-]*", re.IGNORECASE)
_SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")
_PICKLE = re.compile(r"pytorch_model.*\.bin|.*\.(pt|pth|ckpt|pkl)")


@dataclass(frozen=True)
class HubModel:
    """`hf://owner/name@revision`: a branch, a tag or a commit; the main branch where none is named."""

    repo: str
    revision: str = "main"

    @classmethod
    def parse(cls, address: str) -> Self:
        match = _ADDRESS.fullmatch(address)
        if match is None or ".." in address:
            raise InputError("not a model of the hub", where=address, mend="Write hf://OWNER/NAME or hf://OWNER/NAME@REVISION.")
        return cls(match["repo"], match["revision"] or "main")

    def __str__(self) -> str:
        return f"hf://{self.repo}"


@dataclass(frozen=True)
class Fetched:
    """A folder with a model's files. revision: the commit; sha256: of the files whose hash the hub told."""

    folder: Path
    revision: str
    sha256: Mapping[str, str] = field(default_factory=dict)


def fetch_model(model: HubModel, check: Callable[[Path], None] = lambda folder: None) -> Fetched:
    """Fetches what a model needs, or finds it in the cache; a broken download goes on where it stopped.

    check: looks at the folder once its small files are there, before gigabytes of weights are fetched.

    Raises InputError for a model, revision or token that the hub does not know, SlipwayError in one sentence when it cannot be
    reached and the cache does not have the model.
    """
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return _cached(model, "the hub is switched off (HF_HUB_OFFLINE)")
    with _errors(model):
        try:
            return _fetch(model, check)
        except _unreachable() as error:
            return _cached(model, f"the hub cannot be reached ({_reason(error)})")


def wanted(names: Sequence[str], where: str) -> list[str]:
    """Of a repository's files those that make a model package. Raises InputError where its weights are pickle, or no model's."""
    weights = ["model.safetensors"] if "model.safetensors" in names else [name for name in names if _SHARD.fullmatch(name)]
    if not weights:
        pickle = next((name for name in names if _PICKLE.fullmatch(name)), "")
        if pickle:
            raise InputError(
                f"its weights are pickle ({pickle}), which runs code when it is read: only safetensors are taken",
                where=where,
                mend="Name a revision with model.safetensors (often refs/pr/N, by a bot), or convert it where you trust it.",
            )
        raise InputError("no weights in safetensors", where=where, mend="Name a model with model.safetensors or its shards.")
    if CONFIG not in names:
        raise InputError(f"no {CONFIG}", where=where, mend="Name a model in the layout of `transformers`.")
    index = [name for name in ("model.safetensors.index.json",) if name in names and len(weights) > 1]
    return [name for name in names if name in _TEXT or _LEGAL.fullmatch(name)] + index + weights


def _fetch(model: HubModel, check: Callable[[Path], None]) -> Fetched:
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.utils.tqdm import disable_progress_bars

    if not sys.stderr.isatty():
        disable_progress_bars()
    endpoint = os.environ.get("HF_ENDPOINT") or None
    info = HfApi(endpoint=endpoint).model_info(model.repo, revision=model.revision, files_metadata=True)
    files = {each.rfilename: each for each in info.siblings or ()}
    names, commit = wanted(list(files), str(model)), str(info.sha)
    _check_space(model, sum(files[name].size or 0 for name in names))
    folder = Path(hf_hub_download(model.repo, CONFIG, revision=commit, endpoint=endpoint)).parent
    for name in names:
        if name.endswith(".safetensors"):
            check(folder)
        hf_hub_download(model.repo, name, revision=commit, endpoint=endpoint)
    hashes = {name: lfs.sha256 for name in names if (lfs := files[name].lfs) is not None and lfs.sha256}
    _remember(folder.parents[1], model.revision, commit)
    return Fetched(folder, commit, hashes)


def _cached(model: HubModel, why: str) -> Fetched:
    """What an earlier fetch left, offline."""
    repo = _repo_folder(model)
    reference = repo / "refs" / model.revision
    commit = model.revision if _COMMIT.fullmatch(model.revision) else reference.read_text() if reference.is_file() else ""
    folder = repo / "snapshots" / commit
    if not commit or not (folder / "config.json").exists():
        raise SlipwayError(
            f"{why}, and this machine's cache does not have the model",
            where=f"{model}@{model.revision}",
            mend="Fetch it where the hub can be reached and copy the folder here: `slipway models import DIR`.",
        )
    return Fetched(folder, commit)


def _repo_folder(model: HubModel) -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / f"models--{model.repo.replace('/', '--')}"


def _remember(repo: Path, revision: str, commit: str) -> None:
    """What the branch or tag stood for, in the cache's own layout, for when the hub is away."""
    if not _COMMIT.fullmatch(revision):
        (path := repo / "refs" / revision).parent.mkdir(parents=True, exist_ok=True)
        path.write_text(commit)


def _check_space(model: HubModel, size: int) -> None:
    from huggingface_hub import constants

    cache = Path(constants.HF_HUB_CACHE)
    cache.mkdir(parents=True, exist_ok=True)
    present = sum(path.stat().st_size for path in (_repo_folder(model) / "blobs").glob("*"))
    free = shutil.disk_usage(cache).free
    if size - present > free:
        raise InputError(
            f"{(size - present) / 1e9:.1f} GB are to be fetched, {free / 1e9:.1f} GB are free",
            where=str(cache),
            mend="Set HF_HOME to a folder on a larger disk.",
        )


def _unreachable() -> tuple[type[Exception], ...]:
    import httpx2
    from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

    return (OfflineModeIsEnabled, LocalEntryNotFoundError, httpx2.TransportError, ConnectionError)


def _reason(error: Exception) -> str:
    cause = error.__cause__ or error
    return str(cause).split("\n", 1)[0].rstrip(".") or type(cause).__name__


@contextmanager
def _errors(model: HubModel) -> Iterator[None]:
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        yield
    except GatedRepoError:
        mend = f"Accept its terms on {_page(model)}, then set HF_TOKEN to a token of that account."
        raise InputError("its owner gives it only to those who accepted its terms", where=str(model), mend=mend) from None
    except RepositoryNotFoundError:
        mend = "Look at the spelling; a private model needs HF_TOKEN, a token that may read it."
        raise InputError("the hub knows no such model", where=str(model), mend=mend) from None
    except RevisionNotFoundError:
        mend = f"{_page(model)} lists its branches and tags; a commit needs all 40 digits."
        raise InputError(f"it has no revision {model.revision!r}", where=str(model), mend=mend) from None
    except HFValidationError as error:
        raise InputError(str(error).split("\n", 1)[0], where=str(model), mend="Write hf://OWNER/NAME.") from None
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403):
            raise InputError(
                f"the hub refuses it ({status})", where=str(model), mend="Set HF_TOKEN to a token that may read it."
            ) from None
        raise SlipwayError(f"the hub failed ({_reason(error)})", where=str(model), mend="The same command goes on later.") from None


def _page(model: HubModel) -> str:
    return f"{os.environ.get('HF_ENDPOINT') or 'https://huggingface.co'}/{model.repo}"
