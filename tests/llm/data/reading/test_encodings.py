"""Encodings: text comes out as it was written, and what cannot be decoded is named by its line, never replaced."""

from collections import Counter
from pathlib import Path

import pytest

from llm.data.reading.inspect import inspect
from tests.llm.data.reading.reading import read_bytes, read_text, reasons

FRENCH = "Longtemps, je me suis couché de bonne heure. Parfois, à peine ma bougie éteinte, mes yeux se fermaient si vite.\n"
QUOTED = "„Größe“ – sagte er – kostet 5 € … ‘später’\n"
TEXTS = {
    "ru": "Все счастливые семьи похожи друг на друга, каждая несчастливая семья несчастлива по-своему.\n",
    "pl": "Litwo! Ojczyzno moja! ty jesteś jak zdrowie; dziś piękność twą w całej ozdobie widzę i opisuję. Zażółć gęślą.\n",
    "cs": "Příliš žluťoučký kůň úpěl ďábelské ódy. Jednoho rána se Řehoř Samsa probudil z nepokojných snů.\n",
    "el": "Μήνιν άειδε θεά Πηληιάδεω Αχιλήος ουλομένην, η μυρί Αχαιοίς άλγε έθηκε.\n",
    "ja": "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。\n",
    "zh": "道可道，非常道。名可名，非常名。无名天地之始；有名万物之母。\n",
    "ko": "나라의 말이 중국과 달라 문자와 서로 통하지 아니하므로 어린 백성이 말하고자 하는 바가 있어도\n",
}
OTHERS = [
    *(("ru", encoding) for encoding in ("cp1251", "koi8-r", "iso8859-5", "cp866")),
    *(("pl", encoding) for encoding in ("iso8859-2", "cp1250")),
    *(("cs", encoding) for encoding in ("cp1250",)),
    ("el", "cp1253"),
    ("ja", "shift_jis"),
    ("ja", "euc_jp"),
    ("zh", "gb18030"),
    ("ko", "euc_kr"),
]


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252", "latin-1", "mac_roman"]
)
def test_western_text_comes_out_as_it_was_written(encoding: str, tmp_path: Path) -> None:
    text = (FRENCH if encoding in {"latin-1", "mac_roman"} else FRENCH + QUOTED) * 20
    assert read_text(tmp_path, text.encode(encoding))[:2] == (text, [])


@pytest.mark.parametrize(("language", "encoding"), OTHERS)
def test_other_scripts_come_out_as_they_were_written(language: str, encoding: str, tmp_path: Path) -> None:
    text = TEXTS[language] * 20
    assert read_text(tmp_path, text.encode(encoding))[:2] == (text, [])


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32", "utf-8-sig", "cp1252", "cp1251"])
@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.json"])
def test_rows_come_out_whatever_the_file_is_written_in(name: str, encoding: str, tmp_path: Path) -> None:
    text = TEXTS["ru"].strip() if encoding == "cp1251" else FRENCH.strip()
    lines = {
        "a.jsonl": f'{{"text": "{text}"}}\n' * 30,
        "a.csv": "text\n" + f'"{text}"\n' * 30,
        "a.json": "[" + ",\n".join([f'{{"text": "{text}"}}'] * 30) + "]",
    }
    rows, rejected = read_bytes(tmp_path, name, lines[name].encode(encoding))
    assert not rejected
    assert [row.fields["text"] for row in rows] == [text] * 30


def test_what_a_file_is_written_in_is_said_when_it_is_looked_at(tmp_path: Path) -> None:
    for name, encoding in {"a": "utf-8", "b": "cp1252", "c": "utf-16"}.items():
        (tmp_path / f"{name}.txt").write_bytes((FRENCH * 3).encode(encoding))
    (tmp_path / "d.txt").write_bytes(FRENCH.encode() + FRENCH.encode("cp1252"))
    found = inspect(str(tmp_path))
    assert [file.encoding for file in found.files] == ["utf-8", "cp1252", "utf-16", "mixed"]
    assert "encodings beside UTF-8: 1 cp1252, 1 mixed, 1 utf-16" in found.summary


def test_in_a_file_of_mixed_encodings_each_line_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = [FRENCH.encode(), QUOTED.encode("cp1252"), b"plain\n", FRENCH.encode("latin-1"), QUOTED.encode()]
    text, rejected, encodings = read_text(tmp_path, b"".join(written))
    assert text == FRENCH + QUOTED + "plain\n" + FRENCH + QUOTED
    assert not rejected
    assert encodings == Counter({"utf-8": 3, "cp1252": 2})


def test_a_line_where_utf8_and_stray_bytes_meet_is_rejected_alone(tmp_path: Path) -> None:
    content = FRENCH.encode() + FRENCH.strip().encode() + b"\xc3(\xff\n" + b"last\n"
    text, rejected, _ = read_text(tmp_path, content)
    assert text == FRENCH + "last\n"
    assert rejected == [(2, "undecodable")]


def test_a_rejected_line_is_shown_with_its_bytes_and_its_place(tmp_path: Path) -> None:
    _, rejected = read_bytes(tmp_path, "a.txt", b"good\n\xc3\xa9\xc3\xa9 bad \xff\xfe\n")
    assert rejected[0].detail.startswith("a.txt, line 2: its bytes are text in no encoding")
    assert rejected[0].text == "éé bad \\xff\\xfe"


def test_a_file_cut_within_a_character_loses_that_line_and_gains_no_wrong_letter(tmp_path: Path) -> None:
    text, rejected, _ = read_text(tmp_path, FRENCH.encode() * 2 + "caf\u00e9".encode()[:-1])
    assert text == FRENCH * 2
    assert rejected == [(3, "undecodable")]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_half_a_surrogate_pair_in_utf16_rejects_its_line(encoding: str, tmp_path: Path) -> None:
    content = f"\ufeff{FRENCH}bad \ud83d here\nlast\n".encode(encoding, "surrogatepass")
    assert read_text(tmp_path, content)[:2] == (FRENCH + "last\n", [(2, "undecodable")])


def test_a_utf16_file_of_odd_length_loses_its_last_line_alone(tmp_path: Path) -> None:
    assert read_text(tmp_path, f"{FRENCH}last".encode("utf-16")[:-1])[:2] == (FRENCH, [(2, "undecodable")])


@pytest.mark.parametrize(
    "content",
    [
        bytes(range(256)) * 9,
        b"ok " + bytes(range(1, 256)) * 9,
        b"%PDF-1.7\n plain text follows\n" * 20,
        b"PK\x03\x04" + b"text" * 99,
        b"\x89PNG\r\n\x1a\n" + bytes(99),
    ],
)
def test_a_binary_file_is_one_rejected_row_in_a_folder(content: bytes, tmp_path: Path) -> None:
    rows, rejected = read_bytes(tmp_path, "a.txt", content)
    assert not rows
    assert [(each.id, each.reason, each.detail) for each in rejected] == [
        ("a.txt:1", "unreadable-file", "a.txt: binary: it holds no text")
    ]


def test_a_few_nul_bytes_do_not_make_text_binary(tmp_path: Path) -> None:
    text = "Here is a sentence.\0\0And here is another one, which is somewhat longer than the first.\n"
    assert read_text(tmp_path, text.encode())[0] == text


def test_line_ends_of_a_text_file_become_line_feeds(tmp_path: Path) -> None:
    assert read_text(tmp_path, b"one\r\ntwo\rthree\nfour")[0] == "one\ntwo\nthree\nfour"


def test_undecodable_lines_of_jsonl_and_csv_are_rejected_alone(tmp_path: Path) -> None:
    good, bad, single = '{"text": "é"}\n'.encode(), '{"text": "éé'.encode() + b'\xff\xfe"}\n', '{"text": "é"}\n'.encode("cp1252")
    rows, rejected = read_bytes(tmp_path, "a.jsonl", good + bad + single)
    assert ([row.number for row in rows], reasons(rejected)) == ([1, 3], [(2, "undecodable")])
    assert {row.fields["text"] for row in rows} == {"é"}
    rows, rejected = read_bytes(tmp_path, "a.csv", "text,n\né,1\n".encode() + "éé".encode() + b"\xff\xfe,2\n\xe9,3\n")
    assert ([row.fields["text"] for row in rows], reasons(rejected)) == (["é", "é"], [(3, "undecodable")])


def test_undecodable_rows_of_a_json_list_are_rejected_alone(tmp_path: Path) -> None:
    rows, rejected = read_bytes(tmp_path, "a.json", b'[{"text": "a"}, {"text": "\xc3\xa9\xff"}, {"text": "\xc3\xa9"}]')
    assert ([row.fields["text"] for row in rows], reasons(rejected)) == (["a", "é"], [(2, "undecodable")])
    assert rejected[0].text == '{"text": "é\\xff"}'
    _, rejected = read_bytes(tmp_path, "b.json", b'[{"text": "\xc3\xa9\xff", }, {"text": "\xc3\xa9"}]')
    assert rejected[0].text == '{"text": "é\\xff", }, {"text": "é"}]'
