"""Short texts of the corpus's language stay, those of another are named; where it cannot be told nobody is turned away."""

from collections.abc import Callable
from pathlib import Path

import pytest
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from llm.data.cleaning.language import _ALIASES, _model, known_languages, main_language, other_language
from llm.data.stdlib import documentation


@pytest.fixture(scope="module")
def rank() -> Callable[[str], list[tuple[str, float]]]:
    model = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    return lambda text: list(model.rank(text))


SHORT = [
    ("de", "Dies ist ein kurzer Satz."),
    ("es", "El perro corre por la calle."),
    ("fr", "Le chat dort sur la table."),
    ("it", "Dove si trova la stazione?"),
    ("pt", "Este é um pequeno texto de exemplo para testes."),
    ("nl", "De kat slaapt op de tafel."),
    ("sv", "Detta är en kort exempeltext för testning."),
    ("pl", "To jest krótki przykładowy tekst do testów."),
    ("cs", "Toto je krátký ukázkový text pro testování."),
    ("fi", "Tämä on lyhyt esimerkkiteksti testausta varten."),
    ("tr", "Bu, test için kısa bir örnek metindir."),
    ("ro", "Acesta este un scurt text de exemplu pentru teste."),
    ("hu", "Ez egy rövid mintaszöveg teszteléshez."),
    ("vi", "Đây là một đoạn văn bản mẫu ngắn để kiểm tra."),
    ("id", "Ini adalah teks contoh singkat untuk pengujian."),
    ("ko", "이것은 테스트를 위한 짧은 예시 텍스트입니다."),
    ("el", "Αυτό είναι ένα σύντομο δείγμα κειμένου."),
    ("he", "זהו טקסט קצר לדוגמה לבדיקה."),
    ("hi", "यह परीक्षण के लिए एक छोटा नमूना पाठ है।"),
    ("th", "นี่คือข้อความตัวอย่างสั้นๆ สำหรับการทดสอบ"),
    ("ru", "Это короткий пример текста для проверки."),
    ("uk", "Це короткий приклад тексту для перевірки."),
    ("ar", "هذا نص قصير للاختبار."),
    ("zh", "这是一个用于测试的简短示例文本。"),
    ("ja", "これは短いテスト用の文章です。"),
]


@pytest.mark.parametrize(("language", "text"), SHORT)
def test_a_short_sentence_of_another_language_is_named_and_kept_in_its_own(language: str, text: str) -> None:
    assert other_language(text, ("en",)) == language
    assert other_language(text, (language,)) == ""
    assert other_language(text, ()) == ""


def test_no_line_of_a_play_is_taken_for_another_language(data_folder: Path) -> None:
    speeches = (data_folder / "tinyshakespeare" / "input.txt").read_text().split("\n\n")
    others = [speech for speech in speeches[::5] if other_language(speech, ("en",))]
    assert all("Hic ibat Simois" in speech for speech in others)  # the one that is Latin


def test_no_docstring_is_taken_for_another_language() -> None:
    assert [name for name, _, text in list(documentation())[::7] if other_language(text, ("en",))] == []


@pytest.mark.parametrize(
    "text", ["ok", "12 345", ">>> x[0] = y.z(1)", "Popular places in Intramuros include the Baluarte de San Diego"]
)
def test_what_is_hardly_language_is_none_in_particular(text: str) -> None:
    assert other_language(text, ("en",)) == ""


def test_a_corpus_has_a_main_language_when_nine_in_ten_texts_agree() -> None:
    english = ["This is the first of several sentences in plain English.", "Here the second one follows, and says as little."]
    german = "Dies ist ein kurzer Satz auf Deutsch, der nichts bedeutet."
    assert main_language(english * 10 + [german, "ok", "42"]) == "en"
    assert main_language(english * 4 + [german]) == ""
    assert main_language(["これは短いテスト用の文章です。"] * 5) == "ja"
    assert main_language(english) == ""  # two texts say too little
    assert main_language([]) == ""


def test_codes_are_those_of_iso_639() -> None:
    assert {"en", "de", "zh", "ar", "sw"} <= known_languages()
    assert "zxx" not in known_languages()


@pytest.mark.parametrize(
    "text", [*(text for _, text in SHORT), "", "12 345", "LOUD AND CLEAR", "x = [y for y in z]", "cafe\u0301 cr\u00e8me"]
)
def test_the_probabilities_are_those_of_py3langid(text: str, rank: Callable[[str], list[tuple[str, float]]]) -> None:
    model = _model()
    ours = dict(zip(model.languages, model.probabilities(text).tolist(), strict=True))
    theirs = dict.fromkeys(ours, 0.0)
    for language, probability in rank(text):
        theirs[_ALIASES.get(language, language)] += probability
    assert ours == pytest.approx(theirs, abs=1e-3)
