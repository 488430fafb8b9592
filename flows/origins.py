"""Where a model from outside came from: its folder or its place on the hub, pinned; its licence; the hashes of what was read."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

import yaml

from infra.store.errors import DamagedError, InputError
from infra.store.manifest import known_sha256
from llm.models.hub_config import load_config
from llm.models.weight_files import weight_files

Layout = Literal["huggingface", "litgpt"]
HUB: Final = "hf://"
SMALL: Final = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
TOKENIZERS: Final = ("tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt", "encoder.json", "vocab.bpe")
LITGPT: Final = ("model_config.yaml", "lit_model.pth")
_LEGAL = re.compile(r"(LICEN[CS]E|NOTICE|USE_POLICY|COPYING)[\w.-]*", re.IGNORECASE)
_PICKLE: Final = ("pytorch_model.bin", "pytorch_model.bin.index.json", "consolidated.00.pth")


@dataclass(frozen=True)
class Origin:
    """A model outside the store. source: its place on the hub, or the folder's name; licence: "" where none is stated."""

    folder: Path
    layout: Layout
    source: str
    revision: str = ""
    licence: str = ""
    files: Mapping[str, str] = field(default_factory=dict)


@cache
def origin(place: str) -> Origin:
    """For a folder or hf://OWNER/NAME[@REVISION], which is fetched. Raises InputError naming what is missing or refused."""
    if not place.startswith(HUB):
        folder = Path(place).expanduser().absolute()
        return _origin(folder, folder.name)
    from infra.huggingface import HubModel, fetch_model  # the hub's client, which a folder does not need

    model = HubModel.parse(place)
    fetched = fetch_model(model, _known)
    found = _origin(fetched.folder, str(model), fetched.revision)
    for name, told in fetched.sha256.items():
        if found.files.get(name, told) != told:
            raise DamagedError(
                "not what the hub has: its sha256 is another one",
                where=str(fetched.folder / name),
                mend="Remove the file it links to and import again.",
            )
    return found


def licence_of(folder: Path) -> str:
    """As its model card's front matter states it, a package's lineage, or the head of its LICENSE file; "" where none does."""
    stated = _front_matter(folder / "README.md")
    name = str(stated.get("license_name") or "") if stated.get("license") == "other" else ""
    if known := name or stated.get("license"):
        return ", ".join(map(str, known)) if isinstance(known, list) else str(known)
    lineage = folder / "lineage.json"
    if lineage.is_file() and (told := _json(lineage).get("model_licence")):
        return str(told)
    texts = [path for path in legal_files(folder) if path.name.upper().startswith("LICEN")]
    for line in texts[0].read_text(errors="replace").splitlines() if texts else ():
        if line.strip():
            return f"{line.strip()[:80]} ({texts[0].name})"
    return ""


def legal_files(folder: Path) -> list[Path]:
    """Licence texts and notices, which have to go where the weights go."""
    return sorted(path for path in folder.iterdir() if _LEGAL.fullmatch(path.name) and path.is_file())


def _origin(folder: Path, source: str, revision: str = "") -> Origin:
    if not folder.is_dir():
        raise InputError("no such folder", where=str(folder), mend="Name a model folder, or hf://OWNER/NAME[@REVISION].")
    layout: Layout = "litgpt" if all((folder / name).is_file() for name in LITGPT) else "huggingface"
    names = [name for name in (*SMALL, *TOKENIZERS) if (folder / name).is_file()]
    if layout == "litgpt":
        paths = [folder / name for name in LITGPT]
    elif not (folder / "config.json").is_file():
        mend = "A Hugging Face folder has config.json, a litgpt checkpoint model_config.yaml and lit_model.pth."
        raise InputError("not a model folder: it has no config.json", where=str(folder), mend=mend)
    else:
        _refuse_pickle(folder)
        paths = weight_files(folder)
    if not any(name in names for name in TOKENIZERS):
        mend = "Put the tokenizer.json beside the model that was trained with it."
        raise InputError("no tokenizer: it has no tokenizer.json", where=str(folder), mend=mend)
    files = {path.name: known_sha256(path) for path in dict.fromkeys([*paths, *(folder / name for name in names)])}
    return Origin(folder, layout, source, revision, licence_of(folder), files)


def _known(folder: Path) -> None:
    """Whether the model of a config.json is one that is known here, before its weights are fetched."""
    load_config(folder)


def _refuse_pickle(folder: Path) -> None:
    if any((folder / name).is_file() for name in ("model.safetensors", "model.safetensors.index.json")):
        return
    if pickle := next((name for name in _PICKLE if (folder / name).is_file()), ""):
        raise InputError(
            f"its weights are pickle ({pickle}), which runs code when it is read: only safetensors are taken",
            where=str(folder),
            mend="Where you trust it, `save_pretrained` of transformers writes the model anew, as safetensors.",
        )
    if (folder / "adapter_model.safetensors").is_file():
        mend = "Merge it into its base model first (`merge_and_unload` of peft), and import the result."
        raise InputError("an adapter (LoRA), not a model of its own", where=str(folder), mend=mend)
    if gguf := next(folder.glob("*.gguf"), None):
        mend = "Name the model it was made from, as safetensors."
        raise InputError(f"{gguf.name} is a model made for llama.cpp, which is not read here", where=str(folder), mend=mend)


def _front_matter(path: Path) -> dict[str, Any]:
    """The YAML between the two lines of dashes that a model card begins with."""
    if not path.is_file():
        return {}
    match = re.match(r"\s*---\s*\n(.*?)\n---\s*(\n|$)", path.read_text(errors="replace"), re.DOTALL)
    try:
        stated = yaml.safe_load(match[1]) if match else {}
    except yaml.YAMLError:
        return {}
    return stated if isinstance(stated, dict) else {}


def _json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text())
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
