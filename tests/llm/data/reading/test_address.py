"""The grammar of sources: an address is understood as written, or refused with how to write it."""

from pathlib import Path

import pytest

from infra.store.errors import InputError
from llm.data.reading.address import HubAddress, LocalAddress, StoreAddress, parse_address

HUB = {
    "hf://owner/name": HubAddress("owner/name"),
    "hf://squad": HubAddress("squad"),
    "hf://owner/na.me-1@v1.0:en#test": HubAddress("owner/na.me-1", "v1.0", "en", "test"),
    "hf://owner/name@refs/pr/1": HubAddress("owner/name", "refs/pr/1"),
    "hf://owner/name:en": HubAddress("owner/name", config="en"),
    "hf://owner/name#train": HubAddress("owner/name", split="train"),
    "hf:///data/my set:en#train": HubAddress("/data/my set", config="en", split="train"),
}
STORE = {
    "s3://bucket": StoreAddress("s3://bucket", ""),
    "s3://bucket/": StoreAddress("s3://bucket", ""),
    "s3://bucket/a/b.jsonl": StoreAddress("s3://bucket", "a/b.jsonl"),
    "s3://bucket/a//b/": StoreAddress("s3://bucket", "a/b"),
    "s3://bucket/a/*/c-[0-9].jsonl.gz": StoreAddress("s3://bucket", "a", "*/c-[0-9].jsonl.gz"),
    "s3://bucket/*.txt": StoreAddress("s3://bucket", "", "*.txt"),
}


@pytest.mark.parametrize("path", [*HUB, *STORE])
def test_an_address_means_what_it_says(path: str) -> None:
    assert parse_address(path) == {**HUB, **STORE}[path]


@pytest.mark.parametrize("path", HUB)
def test_a_hub_address_written_out_is_the_same(path: str) -> None:
    assert str(HUB[path]) == path


def test_a_pattern_begins_at_the_first_folder_with_a_mark_in_it(tmp_path: Path) -> None:
    assert parse_address(f"{tmp_path}/a/b*/c.txt") == LocalAddress(tmp_path / "a", "b*/c.txt")
    assert parse_address(f"{tmp_path}/**/*.md") == LocalAddress(tmp_path, "**/*.md")
    (tmp_path / "[1] *?.txt").touch()
    assert parse_address(f"{tmp_path}/[1] *?.txt") == LocalAddress(tmp_path / "[1] *?.txt")


@pytest.mark.parametrize(
    ("path", "what"),
    {
        "": "no source is named",
        "gs://bucket/x": "no source is known for gs://",
        "https://host/file.txt": "no source is known for https://",
        "s3://": "no bucket is named",
        "hf://": "not the address of a data set",
        "hf://a/b/c": "not the address of a data set",
        "hf://owner/name#": "not the address of a data set",
    }.items(),
)
def test_what_is_no_address_is_refused_with_the_grammar(path: str, what: str) -> None:
    with pytest.raises(InputError, match=what) as caught:
        parse_address(path)
    assert "Give " in caught.value.mend
