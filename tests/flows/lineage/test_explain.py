"""`slipway explain`: from each thing a chain back to the sources; what is missing is shown in its place and stops nothing."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from flows.cli import main
from flows.cli.explain_text import chain
from flows.lineage.graph import Graph
from infra.store.errors import InputError
from tests.flows.lineage.conftest import MODEL, STEPS, Lived, as_json

Changed = Callable[..., AbstractContextManager[None]]


@pytest.fixture
def slipway(
    lived: Lived, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    monkeypatch.setenv("SLIPWAY_HOME", str(lived.settings.home))

    def run(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(words)
        out, err = capsys.readouterr()
        return int(str(ended.value.code)), out, err

    return run


@contextmanager
def answering(told: dict[str, Any]) -> Iterator[str]:
    """A server that answers /version."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(told).encode() if self.path == "/version" else b""
            self.send_response(200 if body else 404)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def steps(graph: Graph) -> list[tuple[str, str]]:
    """The chain's spine: from the root down the links that lead on, by role and kind."""
    found, at, seen = list[tuple[str, str]](), graph.root, set[str]()
    while at not in seen:
        seen.add(at)
        node = graph.nodes[at]
        onward = [link for link in node.links if graph.nodes[link.to].kind not in ("decision", "evidence")]
        if onward:
            at = onward[-1].to
            found.append((onward[-1].role, graph.nodes[at].kind))
    return found


SPINE = [
    ("package", "package"),
    ("made by", "run"),
    ("tokens", "tokens"),
    ("made by", "run"),
    ("corpus", "corpus"),
    ("made by", "run"),
    ("source", "source"),
]


def test_a_model_version_leads_back_to_the_files_it_was_made_from(lived: Lived) -> None:
    graph = lived.explain(MODEL)
    assert steps(graph) == SPINE
    (source,) = [node for node in graph.nodes.values() if node.kind == "source"]
    (corpus,) = [node for node in graph.nodes.values() if node.kind == "corpus"]
    assert source.facts["path"] == str(lived.text)
    assert source.facts["files"] == lived.thing("validate-data", "corpus").facts["sources"]
    assert source.hash == corpus.facts["source"]["version"]
    assert [node.id for node in graph.nodes.values() if node.broken] == []


def test_a_served_address_leads_through_the_ledger_to_the_registered_version(lived: Lived) -> None:
    package = lived.thing("pretrain", "package")
    weights = package.files["model.safetensors"]["sha256"]
    told = {"model": "explained", "kind": "causal", "chat": False, "package": package.version, "weights_sha256": weights}
    with answering(told) as url:
        graph = lived.explain(url)
        assert lived.findings(url) == []
    assert steps(graph) == [("version", "model version"), *SPINE]
    decisions = {
        link.role: graph.nodes[link.to] for node in graph.nodes.values() for link in node.links if link.to.startswith("ledger")
    }
    assert {role: (node.facts["who"], node.facts["why"]) for role, node in decisions.items()} == {
        "deploy": ("bo@quay", "release day"),
        "approve": ("ann@quay", "better on every document"),
    }
    with answering(told | {"weights_sha256": "0" * 64}) as url:
        assert "serves other weights (000000000000)" in " ".join(lived.findings(url))
    with answering(told | {"package": None}) as url:
        assert steps(lived.explain(url)) == [("version", "model version"), *SPINE], "known by its weights alone"


def test_an_address_without_a_model_server_is_refused_in_one_sentence(lived: Lived, free_port: int) -> None:
    with pytest.raises(InputError, match="nothing answers there"):
        lived.explain(f"http://127.0.0.1:{free_port}")
    with answering({}) as url, pytest.raises(InputError, match="no model server: /version does not say which weights"):
        lived.explain(url)


def test_every_way_to_name_a_thing_finds_it(lived: Lived) -> None:
    record, package = lived.records["pretrain"], lived.thing("pretrain", "package")
    tokens, corpus = lived.thing("prepare-data", "tokens"), lived.thing("validate-data", "corpus")
    run = f"stages/{record.key}.json"
    roots = {
        record.run: run,
        record.key: run,
        record.key[:8]: run,
        record.run[:-1] + "1": run,  # the attempt that was cut off
        str(package.folder()): package.prefix,
        package.uri: package.prefix,
        package.prefix: package.prefix,
        package.version: package.prefix,
        "text": corpus.prefix,
        "text-tokens": tokens.prefix,
        f"text/{corpus.version}": corpus.prefix,
        f"datasets/text-tokens/{tokens.version}": tokens.prefix,
        "datasets/text-tokens": tokens.prefix,
    }
    assert {thing: lived.explain(thing).root for thing in roots} == roots


def test_an_unknown_thing_is_refused_with_the_nearest_names(lived: Lived) -> None:
    run = lived.records["pretrain"].run
    for thing, near in {"textt": "text", "pretrain-000000000000-1": run[:12], "explained/1": MODEL, "zzz": "text"}.items():
        with pytest.raises(InputError, match=f"nothing of this name is known; the nearest names are .*{near}"):
            lived.explain(thing)
    with pytest.raises(InputError, match="no model 'explainde' is registered"):
        lived.explain("models:/explainde/1")


def test_a_run_that_has_not_finished_is_told_as_such(lived: Lived) -> None:
    lived.store.write("runs/pretrain-aaaaaaaaaaaa-1/checkpoints/step-00000004/loss.parquet", b"")
    graph = lived.explain("pretrain-aaaaaaaaaaaa-1")
    assert graph.nodes[graph.root].broken == ("it has not finished: there is no stage record of it",)
    assert lived.findings("pretrain-aaaaaaaaaaaa-1") == [f"{graph.root}: it has not finished: there is no stage record of it."]


GONE = [("pretrain", "package"), ("evaluate", "evidence"), ("prepare-data", "tokens"), ("validate-data", "corpus")]


@pytest.mark.parametrize(("stage", "output"), GONE)
@pytest.mark.parametrize("to", [None, lambda before: b"{", as_json(lambda document: document.update(files=7))])
def test_a_thing_that_is_gone_or_unreadable_is_shown_in_its_place_and_the_chain_goes_on(
    lived: Lived, changed: Changed, stage: str, output: str, to: Callable[[bytes], bytes] | None
) -> None:
    thing = lived.thing(stage, output)
    with changed(lived.path(f"{thing.prefix}/manifest.json"), to):
        graph = lived.explain(MODEL)
        text = chain(graph)
        findings = lived.findings(MODEL)
    broken = graph.nodes[thing.prefix].broken
    assert len(broken) == 1
    assert broken[0].startswith("gone: no" if to is None else "its manifest is unreadable")
    assert f"! {broken[0]}" in text
    assert steps(graph)[:-1] == SPINE[:-1], "the record still says what it was made from"
    assert any(broken[0] in finding for finding in findings)


@pytest.mark.parametrize("stage", ["pretrain", "prepare-data", "validate-data"])
@pytest.mark.parametrize("to", [None, lambda before: b"[]", as_json(lambda document: document.update(identity=[]))])
def test_without_a_record_a_thing_says_itself_what_it_was_made_from(
    lived: Lived, changed: Changed, stage: str, to: Callable[[bytes], bytes] | None
) -> None:
    with changed(lived.path(f"stages/{lived.records[stage].key}.json"), to):
        graph = lived.explain(MODEL)
        findings = lived.findings(MODEL)
        chain(graph)
    broken = [line for node in graph.nodes.values() for line in node.broken]
    assert len(broken) == 1
    assert "record" in broken[0]
    assert [kind for _, kind in steps(graph) if kind != "run"] == ["package", "tokens", "corpus", "source"]
    assert any(broken[0] in finding for finding in findings)


def test_the_text_tells_who_decided_what_and_where_it_came_from(slipway: Callable[..., tuple[int, str, str]], lived: Lived) -> None:
    code, out, err = slipway("explain", MODEL)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == f"model version {MODEL}"
    assert "approve, entry 1 of the ledger" in out
    assert "by ann@quay: better on every document" in out
    assert f"made by run {lived.records['pretrain'].run}" in out
    assert f"read from {lived.text}" in out
    assert "licence not stated" in out
    assert out.count("made by run pretrain-") == 1, "told once"
    assert max(map(len, lines)) < 250


def test_the_json_is_one_document_of_nodes_and_edges(slipway: Callable[..., tuple[int, str, str]]) -> None:
    code, out, _ = slipway("explain", MODEL, "--json")
    document = json.loads(out)
    assert code == 0
    assert (document["thing"], document["root"]) == (MODEL, MODEL)
    ids = [node["id"] for node in document["nodes"]]
    assert ids[0] == MODEL
    assert len(ids) == len(set(ids))
    assert all(set(node) == {"kind", "id", "hash", "facts", "broken", "children"} for node in document["nodes"])
    assert {(edge["from"], edge["to"]) for edge in document["edges"]} == {
        (node["id"], child["id"]) for node in document["nodes"] for child in node["children"]
    }
    assert {edge["to"] for edge in document["edges"]} <= set(ids)


def test_verify_exits_0_when_all_holds_and_3_with_the_finding_when_not(
    slipway: Callable[..., tuple[int, str, str]], lived: Lived, changed: Changed
) -> None:
    code, out, _ = slipway("explain", MODEL, "--verify")
    assert code == 0
    assert out.splitlines()[-1].startswith("Every hash holds: ")
    package = lived.thing("pretrain", "package")
    with changed(lived.path(f"{package.prefix}/config.json"), lambda before: before + b" "):
        code, out, _ = slipway("explain", MODEL, "--verify")
        json_code, document, _ = slipway("explain", MODEL, "--verify", "--json")
    told = json.loads(document)
    assert (code, json_code) == (3, 3)
    assert f"- {package.prefix}/config.json was changed" in out
    assert told["verification"]["holds"] is False
    assert told["error"]["code"] == "refused"
    assert f"{package.prefix}/config.json was changed" in told["error"]["what"]


@pytest.mark.parametrize(("words", "loaded"), [(["--json"], []), (["--verify", "--json"], ["pyarrow"])])
def test_a_chain_is_told_and_verified_without_loading_the_heavy_libraries(
    lived: Lived, words: list[str], loaded: list[str]
) -> None:
    heavy = ("torch", "ray", "great_expectations", "mlflow", "prefect", "pyarrow", "pandas", "tokenizers")
    code = f"""
import sys
from flows.cli import main
try:
    main(["explain", "text-tokens", *{words}])
finally:
    print([name for name in {heavy} if name in sys.modules], file=sys.stderr)
"""
    env = os.environ | {"SLIPWAY_HOME": str(lived.settings.home)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout).get("verification", {"holds": True})["holds"] is True
    assert done.stderr.splitlines()[-1] == str(loaded)  # sources are read again by those who read them first


def test_a_step_is_shown_shortened_and_in_full(slipway: Callable[..., tuple[int, str, str]], lived: Lived) -> None:
    run = lived.records["pretrain"].run
    code, out, _ = slipway("explain", run, "--step", "3")
    assert code == 0
    assert out.splitlines()[0] == f"{run}, step 3 of {STEPS}: 16 rows"
    assert "text.txt:1." in out
    code, out, _ = slipway("explain", MODEL, "--step", "3", "--json")
    document = json.loads(out)
    assert (code, document["run"], document["step"]) == (0, run, 3)
    assert len(document["rows"][0]["ids"]) == 33
    assert slipway("explain", run, "--step", "3", "--verify")[0] == 2
    assert slipway("explain", "text", "--step", "3")[0] == 2
