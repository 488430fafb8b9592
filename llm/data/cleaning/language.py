"""Which language a text is in, by py3langid (Lui & Baldwin 2012) and by its script; said only where it is clear."""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from py3langid.langid import MODEL_FILE, LanguageIdentifier, visit_counts

_ASKED, _FIRST_ASKED = 1000, 200  # characters; most texts are plainly in their language after the first hundreds
_PLAIN: Final = 0.9  # probability after _FIRST_ASKED at which nobody asks on
_CLEAR: Final = 0.4  # probability of another language, and at most _UNLIKELY of those that are kept: measured in docs/cleaning.md
_UNLIKELY: Final = 0.01
_CLEAR_OF_RARE: Final = 0.9  # names and places alone look like Aragonese or Ligurian
_MONOLINGUAL: Final = 0.9
_FEWEST_TEXTS: Final = 3

# fmt: off
_COMMON: Final = frozenset((
    "af", "am", "ar", "az", "be", "bg", "bn", "bs", "ca", "cs", "cy", "da", "de", "el", "en", "es", "et", "eu", "fa", "fi",
    "fr", "ga", "gl", "gu", "he", "hi", "hr", "hu", "hy", "id", "is", "it", "ja", "ka", "kk", "km", "kn", "ko", "ky", "lo",
    "lt", "lv", "mk", "ml", "mn", "mr", "ms", "my", "ne", "nl", "no", "pa", "pl", "ps", "pt", "ro", "ru", "si", "sk", "sl",
    "so", "sq", "sr", "sv", "sw", "ta", "te", "th", "tl", "tr", "uk", "ur", "uz", "vi", "zh",
))
# fmt: on
_NO_LANGUAGE: Final = "zxx"  # py3langid's word for numbers and code
_ALIASES: Final = {
    "pcm": "en",
    "gcf": "fr",
    "gcr": "fr",
    "nn": "no",
    "arz": "ar",
    "ary": "ar",
    "wuu": "zh",
    "yue": "zh",
    "hbo": "he",
    "grc": "el",
}
"""Close relatives that short texts are taken for: Nigerian Pidgin, Creoles, spoken and ancient forms."""

_SCRIPTS: Final = (  # its letters, the share of a text's letters that says it is written in it, and the languages that are
    (re.compile("[\u3040-\u30ff]"), 0.1, ("ja",)),  # Japanese mixes kana with ideographs
    (re.compile("[\uac00-\ud7af\u1100-\u11ff]"), 0.5, ("ko",)),
    (re.compile("[\u3400-\u4dbf\u4e00-\u9fff]"), 0.5, ("zh", "ja")),
    (re.compile("[\u0400-\u052f]"), 0.5, ("ru", "uk", "be", "bg", "sr", "mk", "kk", "ky", "mn", "tg", "tt", "ba", "uz", "az")),
    (re.compile("[\u0600-\u06ff\u0750-\u077f]"), 0.5, ("ar", "fa", "ur", "ps", "ug", "ku", "sdh")),
    (re.compile("[\u0370-\u03ff\u1f00-\u1fff]"), 0.5, ("el",)),
    (re.compile("[\u0590-\u05ff]"), 0.5, ("he",)),
    (re.compile("[\u0e00-\u0e7f]"), 0.5, ("th",)),
    (re.compile("[\u0900-\u097f]"), 0.5, ("hi", "mr", "ne", "sa", "gom")),
)
_LETTER: Final = re.compile(r"[^\W\d_]")


def other_language(text: str, kept: Collection[str]) -> str:
    """The language of a text that is clearly in none of `kept`; empty where it is in one of them, or cannot be told."""
    if not kept:
        return ""
    model, head = _model(), text[:_ASKED]
    if (written := _by_script(head)) and not set(written) & set(kept):
        return written[0] if len(written) == 1 else model.likeliest(model.probabilities(head), written)
    places = [model.place[language] for language in kept if language in model.place]
    probabilities = model.probabilities(head[:_FIRST_ASKED])
    if len(head) > _FIRST_ASKED and not any(probabilities[place] >= _PLAIN for place in places):
        probabilities = model.probabilities(head)
    if any(probabilities[place] >= _UNLIKELY for place in places):
        return ""
    best = model.likeliest(probabilities)
    clear = _CLEAR if best in _COMMON else _CLEAR_OF_RARE
    return best if best != _NO_LANGUAGE and probabilities[model.place[best]] >= clear else ""


def main_language(texts: Iterable[str]) -> str:
    """The one language of a sample of which nine in ten texts, of those that are clear, are in it; else empty."""
    model, found = _model(), Counter[str]()
    for text in texts:
        head = text[:_ASKED]
        written = _by_script(head)
        if len(written) == 1:
            found[written[0]] += 1
            continue
        probabilities = model.probabilities(head)
        best = model.likeliest(probabilities, written)
        if best != _NO_LANGUAGE and (written or probabilities[model.place[best]] >= _CLEAR):
            found[best] += 1
    if found.total() < _FEWEST_TEXTS:
        return ""
    language, count = found.most_common(1)[0]
    return language if count >= _MONOLINGUAL * found.total() else ""


def known_languages() -> frozenset[str]:
    """The ISO 639 codes that can be told apart."""
    return frozenset(_model().languages) - {_NO_LANGUAGE}


def _by_script(text: str) -> tuple[str, ...]:
    """The languages of the script that most letters are of; none where it is one that very many languages share."""
    if text.isascii():
        return ()
    letters = len(_LETTER.findall(text))
    for script, share, languages in _SCRIPTS:
        if len(script.findall(text)) > share * letters:
            return languages
    return ()


class _Model:
    """py3langid's model. `languages` (L,) are its languages, close relatives as one; `place` says where each of them is.

    The arithmetic is that of its `rank`, but for the list of all languages in their order, which takes half of the time.
    """

    def __init__(self) -> None:
        model = LanguageIdentifier.from_model_file(MODEL_FILE)
        names = [_ALIASES.get(name, name) for name in model.nb_classes]
        self.languages: tuple[str, ...] = tuple(dict.fromkeys(names))
        self.place = {name: place for place, name in enumerate(self.languages)}
        self._columns = np.array([self.place[name] for name in names])
        self._moves, self._output, self._rows = model.tk_nextmove, model.tk_output, [row << 8 for row in model.tk_row]
        self._weights = model.nb_ptc.astype(np.float32)  # 57 MB, and three times as fast as halves
        self._prior = model.nb_pc.astype(np.float32)

    def probabilities(self, text: str) -> NDArray[np.float64]:
        """Of every language (L,), calibrated for short texts: the score is divided by the square root of the length in bytes."""
        data = unicodedata.normalize("NFC", text.lower() if text.isupper() else text).encode("utf-8", "surrogatepass")
        visits = visit_counts(self._moves, self._rows, self._output, data) or {}
        features = np.fromiter(visits.keys(), dtype=np.intp, count=len(visits))
        counts = np.fromiter(visits.values(), dtype=np.float32, count=len(visits))
        scores = np.log1p(counts) @ self._weights[features] + self._prior * bool(visits)
        odds = np.exp((scores - scores.max()) / math.sqrt(len(data) or 1))
        found = np.zeros(len(self.languages))
        np.add.at(found, self._columns, odds / odds.sum())
        return found

    def likeliest(self, probabilities: NDArray[np.float64], among: Collection[str] = ()) -> str:
        if not among:
            return self.languages[int(probabilities.argmax())]
        best: str = max(among, key=lambda language: float(probabilities[self.place[language]]))
        return best


@cache
def _model() -> _Model:
    return _Model()
