"""What a chain for people says of each thing, in lines of one sentence's length."""

from collections.abc import Callable, Mapping
from textwrap import wrap
from typing import Any, Final

from flows.cli.output import duration, size
from flows.lineage.graph import Kind, Node

_SPLITS = ("train", "validation", "test")
_NAMED = 3  # of more source files than these, the tree gives the count
_WIDTH = 100  # of a line of settings


def facts_of(node: Node) -> list[str]:
    """Its lines, without what its links say."""
    return _FACTS[node.kind](node.facts)


def decision(node: Node) -> str:
    """An entry of the ledger on one line."""
    facts = node.facts
    why = f": {facts['why']}" if facts["why"] else ""
    return f"{facts['action']}, entry {facts['number']} of the ledger, {_when(facts['time'])} by {facts['who']}{why}"


def _server(facts: Mapping[str, Any]) -> list[str]:
    chat = ", chat" if facts.get("chat") else ""
    lines = [f"serves {facts.get('model')} ({facts.get('kind')}{chat}), weights sha256 {str(facts['weights_sha256'])[:12]}"]
    return lines if facts["deployed"] else [*lines, "the ledger tells of no deployment of it"]


def _model(facts: Mapping[str, Any]) -> list[str]:
    tags = facts.get("tags", {})
    told = [f"{said} {tags[name]}" for name, said in _TAGS.items() if name in tags]
    told += (
        [tags["headline"]] if "headline" in tags else [f"bits per byte {tags['bits_per_byte']}"] if "bits_per_byte" in tags else []
    )
    told += [f"alias {alias}" for alias in facts.get("aliases", ())]
    return [" · ".join([*told, f"registered {_when(facts['created'])}"])] if "created" in facts else told


def _stored(facts: Mapping[str, Any]) -> str:
    files = facts.get("stored_files", {})
    return f"{len(files):,} file{'s' * (len(files) != 1)}, {size(facts.get('stored_bytes', 0))}"


def _thing(facts: Mapping[str, Any]) -> list[str]:
    return [_stored(facts)] if "stored_files" in facts else []


def _package(facts: Mapping[str, Any]) -> list[str]:
    return [f"version {facts['version']} · {_stored(facts)}"] if "stored_files" in facts else []


def _evidence(facts: Mapping[str, Any]) -> list[str]:
    evidence = facts.get("evidence", {})
    gates, told = evidence.get("gates", ()), _package(facts)
    measured = evidence.get("headline") or {"name": "bits per byte", **(evidence.get("bits_per_byte", {}).get("model", {}))}
    told += [f"{measured['name']} {measured['value']:.4f}"] if "value" in measured else []
    return told + [f"gate {gate['name']}: {'passed' if gate['passed'] else 'FAILED'} ({gate['observed']})" for gate in gates]


def _tokens(facts: Mapping[str, Any]) -> list[str]:
    splits = facts.get("splits", {})
    told = ", ".join(f"{split} {splits[split]['tokens']:,}" for split in _SPLITS if split in splits)
    return [*_thing(facts), *([f"vocabulary {facts['vocabulary']:,} · tokens: {told}"] if told else [])]


def _corpus(facts: Mapping[str, Any]) -> list[str]:
    if "rows" not in facts:
        return _thing(facts)
    return [
        *_thing(facts),
        f"{facts['rows']:,} documents, {size(facts['bytes'])} of text, {facts['duplicates']:,} duplicates left out",
    ]


def _source(facts: Mapping[str, Any]) -> list[str]:
    files = facts.get("files") or ()
    known = [facts.get("summary"), facts.get("path") and f"read from {facts['path']}", facts.get("host") and f"on {facts['host']}"]
    said = " · ".join(str(each) for each in known if each)
    rights = f"licence {facts.get('licence') or 'not stated'}" + (f", {facts['interpreter']}" if facts.get("interpreter") else "")
    named = [f"{file['name']} sha256 {file['sha256'][:12]}" for file in files[:_NAMED]]
    return [
        *([said] if said else []),
        rights,
        *named,
        *([f"and {len(files) - _NAMED:,} files more"] if len(files) > _NAMED else []),
    ]


def _folder(facts: Mapping[str, Any]) -> list[str]:
    if facts.get("folder"):
        return []
    revision = f" at {facts['revision']}" if "revision" in facts else ""
    told = f": {facts['from']}{revision}" if "from" in facts else ""
    rights = [f"licence {facts.get('licence', 'not stated')}"] if "from" in facts else []
    named = [f"{name} sha256 {str(sha256)[:12]}" for name, sha256 in [*facts.get("files", {}).items()][:_NAMED]]
    return [f"a model from outside the store{told}", *rights, *named]


def _run(facts: Mapping[str, Any]) -> list[str]:
    """What a record tells: when and where, settings in short, numerics, code."""
    if "started" not in facts:
        return []
    cost = f"{duration(facts['seconds'])}, {duration(facts['cpu_seconds'])} of processor"
    code, told = facts["code"], dict(facts["settings"])
    changed = " with changes" if code.get("changed") else ""
    commit = f"commit {code['commit'][:12]}{changed}" if "commit" in code else f"version {code.get('version')}"
    limits = told.pop("expectations", None)
    settings = _flat(told) + ([f"{len(limits)} expectations"] if limits else [])
    asked = facts.get("asked")
    return [
        *([f"(the record is of this later attempt; {asked} did not end, or was done again)"] if asked else []),
        f"{_when(facts['started'])} on {facts['host']}, {cost}",
        *(_wrapped(f"settings {', '.join(settings)}") if settings else []),
        *(_wrapped(f"numerics {', '.join(_flat(_without_reason(facts['numerics'])))}") if facts["numerics"] else []),
        f"code {commit}, digest {code.get('digest')}",
    ]


def _without_reason(numerics: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in numerics.items() if name != "reason"}


def _when(time: object) -> str:
    """Of an ISO time in UTC."""
    return f"{str(time)[:16].replace('T', ' ')} UTC"


def _flat(settings: Mapping[str, Any]) -> list[str]:
    """`steps 700`: the settings of all sections by their own names, without what is empty or zero."""
    found = []
    for name, value in settings.items():
        if isinstance(value, Mapping):
            found += _flat(value)
        elif value not in (None, "", 0, [], ()):
            found.append(f"{name} {value}")
    return found


def _wrapped(line: str) -> list[str]:
    return wrap(line, _WIDTH, subsequent_indent="  ", break_long_words=False)


_TAGS: Final = {"review.status": "review", "gates": "gates"}
_FACTS: Final[Mapping[Kind, Callable[[Mapping[str, Any]], list[str]]]] = {
    "server": _server,
    "model version": _model,
    "package": _package,
    "evidence": _evidence,
    "run": _run,
    "tokens": _tokens,
    "corpus": _corpus,
    "dataset": _thing,
    "model folder": _folder,
    "source": _source,
}
