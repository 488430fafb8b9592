"""The parts of the page below its head: what failed and why, the rows that were left out, what the data is like, all limits."""

from collections.abc import Mapping
from typing import Any, Final

from infra.validation.masking import mask
from infra.validation.page import charts
from infra.validation.page.shown import meter, ordered, share, text, value, wanted

TONES: Final = 10
_LINES: Final = 12
_SUITES: Final = {
    "invariants": "Invariants: what must hold for every row. A failure blocks.",
    "contamination": "Contamination: no evaluation question among the data. A failure blocks.",
    "quality": "Quality: what good data looks like. A failure warns.",
    "drift": "Drift: how far the data has moved since its last version. A failure warns.",
}
_REASONS: Final = {
    "undecodable": "In no encoding that is known.",
    "lone-surrogate": "Holds half of a character, which no encoding can write.",
    "not-json": "A line that is not JSON.",
    "not-an-object": "A row that is not an object with columns.",
    "wrong-columns": "More or fewer columns than the head names.",
    "bad-quotes": "Quotes that never close.",
    "unreadable-file": "A whole file that is truncated, damaged, binary or locked.",
    "missing-column": "Lacks a column that is needed.",
    "not-text": "Something other than text where text is needed.",
    "empty": "No text but white space.",
    "empty-question": "A question without words.",
    "empty-answer": "No answer to learn from.",
    "no-label": "No label to learn.",
    "wrong-turns": "User and assistant do not speak in turn.",
    "same-answers": "The chosen answer is the rejected one.",
    "label-conflict": "The same text has another label elsewhere.",
    "too-short": "Too short to teach anything.",
    "other-language": "Not in a language that is asked for.",
    "repetitive": "Repeats itself.",
    "symbol-noise": "Symbols more than words.",
    "boilerplate": "Navigation, notices and other boilerplate.",
    "low-quality": "Unlike prose by the quality rules.",
    "exact-duplicate": "The same text stands earlier.",
    "near-duplicate": "Nearly the same text stands earlier.",
    "contamination": "Holds questions of an evaluation set.",
}
_HISTOGRAMS: Final = {
    "bytes": ("Lengths", "documents by bytes of text"),
    "answer_bytes": ("Answers", "answers by bytes"),
    "chosen_bytes": ("Chosen answers", "by bytes"),
    "rejected_bytes": ("Rejected answers", "by bytes"),
}
_HEADS: Final = {
    "failed": ("What failed", "Each of these refuses the data."),
    "warned": ("Warnings", "Worth a look; the data passes all the same."),
    "waived": ("Waived", "These failed, and somebody answers for them until a day."),
}


def judgements(document: Mapping[str, Any]) -> str:
    parts = []
    for verdict, (head, lead) in _HEADS.items():
        mine = [each for each in document["expectations"] if each["verdict"] == verdict]
        if mine:
            parts += [f'<section id="{verdict}"><h2>{head}</h2><p class="lead">{lead}</p>', *map(_judgement, mine), "</section>"]
    for waiver in document.get("expired_waivers", ()):
        said = f"{waiver['who']}'s waiver of {waiver['expectation']} expired on {waiver['expires']} and does not count."
        parts.append(f'<p class="soft">{text(said)}</p>')
    return "".join(parts)


def _judgement(each: Mapping[str, Any]) -> str:
    verdict, observed, bound = each["verdict"], each["observed"], each["limit"]
    drawn = ""
    if observed is not None and bound is not None:
        drawn = charts.gauge(observed, bound, at_most=each["name"].startswith("max_"), verdict=verdict)
    waiver = each.get("waiver")
    by = (
        f'<p class="waiver"><b>{text(waiver["who"])}</b>, until {text(waiver["expires"])}: {text(waiver["reason"])}</p>'
        if waiver
        else ""
    )
    rows = "".join(f"<li>{_place(example)}</li>" for example in each["examples"])
    return (
        f'<article class="card finding {verdict}"><div class="top"><h3>{text(each["words"])}</h3>'
        f'<span class="chip {verdict}">{verdict}</span><code>{text(each["name"])}</code></div>'
        f'<p class="figures"><b>{value(each["name"], observed)}</b>, wanted {wanted(each)}</p>{drawn}{by}'
        f"{f'<ul class=rows>{rows}</ul>' if rows else ''}</article>"
    )


def _place(example: str) -> str:
    """An example, `id: text`; the id apart, where it is short enough to be one."""
    name, colon, shown = example.partition(": ")
    if not colon or len(name) > 120:
        return f"<code>{text(mask(example))}</code>"
    return f'<span class="place">{text(name)}</span><code>{text(mask(shown))}</code>'


def rejected(document: Mapping[str, Any]) -> str:
    if not document["rejected"]:
        return ""
    worst: dict[str, list[Mapping[str, Any]]] = {}
    for each in document.get("rejected_examples", ()):
        worst.setdefault(each["reason"], []).append(each)
    most = max(document["rejected"].values())
    parts = []
    for place, (reason, count) in enumerate(ordered(document["rejected"])):
        rows = "".join(map(_offender, worst.get(reason, ())))
        parts.append(
            f'<details class="card"{" open" if place == 0 else ""}><summary><span><b>{text(reason)}</b></span>'
            f'<span class="count">{count:,}</span><span class="share">{share(count, document["rows"])}</span>'
            f'{meter(count / most, f"c{place % TONES}")}</summary><div class="inside"><p>{text(_REASONS.get(reason, ""))}</p>'
            f"{f'<ul class=rows>{rows}</ul>' if rows else ''}</div></details>"
        )
    lead = f"Every rejected row is kept, with its place and reason, in <code>{text(document.get('rejected_file', ''))}</code>."
    return f'<section id="rejected"><h2>Rejected rows</h2><p class="lead">{lead}</p>{"".join(parts)}</section>'


def _offender(each: Mapping[str, Any]) -> str:
    place = f"{each['source']}, row {each['row']}" if each.get("source") else str(each["id"])
    why = str(each.get("detail", ""))
    for said in ("row", "line"):  # the place is told already
        why = why.removeprefix(f"{each.get('source', '')}, {said} {each['row']:,}: ")
    detail = f" <span class=soft>{text(mask(why))}</span>" if why else ""
    shown = f"<br><code>{text(mask(str(each['text'])))}</code>" if each.get("text") else ""
    return f'<li><span class="place">{text(place)}</span>{detail}{shown}</li>'


def found(document: Mapping[str, Any]) -> str:
    if not document["found"]:
        return ""
    rows = document.get("found_rows", {})
    lines = "".join(
        f"<tr><td>{text(kind)}</td><td class=number>{count:,}</td><td class=number>{rows.get(kind, count):,}</td>"
        f"<td class=number>{share(rows.get(kind, count), document['kept'])}</td></tr>"
        for kind, count in ordered(document["found"])
    )
    where = document.get("findings_file", "")
    lead = f"What was found in rows that were kept; never shown here. Each place is in <code>{text(where)}</code>."
    heads = "".join(f'<th class="number">{name}</th>' for name in ("findings", "rows", "of kept rows"))
    table = f"<table><thead><tr><th>kind</th>{heads}</tr></thead><tbody>{lines}</tbody></table>"
    head = f'<h2>Found and kept</h2><p class="lead">{lead}</p>'
    return f'<section id="found">{head}<div class="card scroll">{table}</div></section>'


def drawn(document: Mapping[str, Any]) -> str:
    """Histograms and shares; the last version's beside them, where there is one."""
    profile, before = document["profile"], (document.get("previous") or {}).get("profile") or {}
    parts = []
    for name, histogram in profile.get("histograms", {}).items():
        head, words = _HISTOGRAMS.get(name, (name.replace("_", " "), ""))
        old = before.get("histograms", {}).get(name)
        if picture := charts.histogram(histogram, old, words=f"{head}: {words}"):
            words += "; dashed, the last version" if old else ""
            parts.append(f'<figure class="card chart"><h3>{text(head)}</h3><p>{text(words)}</p>{picture}</figure>')
    for name, head, words in (("languages", "Languages", "of the sampled documents"), ("labels", "Labels", "share of the rows")):
        if shares := profile.get("shares", {}).get(name):
            parts.append(_lines(head, words, shares))
    if not parts:
        return ""
    head = '<h2>Profile</h2><p class="lead">Counted over every row that was kept.</p>'
    return f'<section id="profile">{head}<div class="split">{"".join(parts)}</div></section>'


def _lines(head: str, words: str, shares: Mapping[str, float]) -> str:
    largest, most = ordered(shares), max(shares.values()) or 1
    lines = "".join(
        f'<div class="line"><span title="{text(name)}">{text(name)}</span>{meter(part / most)}<span>{share(part, 1)}</span></div>'
        for name, part in largest[:_LINES]
    )
    more = f"; {len(largest) - _LINES:,} more are rarer" if len(largest) > _LINES else ""
    return f'<div class="card chart"><h3>{text(head)}</h3><p>{text(words + more)}</p>{lines}</div>'


def every(document: Mapping[str, Any]) -> str:
    """All expectations by suite, those without a number to judge as well."""
    groups = []
    for suite, words in _SUITES.items():
        rows = [_line(each) for each in document["expectations"] if each["suite"] == suite]
        rows += [_unjudged(each) for each in document.get("not_judged", ()) if each["suite"] == suite]
        if rows:
            groups.append(f'<tbody><tr class="suite"><td colspan="4">{words}</td></tr>{"".join(rows)}</tbody>')
    heads = '<th>verdict</th><th>expectation</th><th class="number">observed</th><th class="number">wanted</th>'
    table = f"<table><thead><tr>{heads}</tr></thead>{''.join(groups)}</table>"
    lead = "Judged by Great Expectations on the profile of all rows and a stratified sample of them. Limits are the recipe's."
    head = f'<h2>Every expectation</h2><p class="lead">{lead}</p>'
    return f'<section id="expectations">{head}<div class="card scroll">{table}</div></section>'


def _line(each: Mapping[str, Any]) -> str:
    return (
        f'<tr><td><span class="chip {each["verdict"]}">{each["verdict"]}</span></td>{_cell(each["words"], each["name"])}'
        f"<td class=number>{value(each['name'], each['observed'])}</td><td class=number>{wanted(each)}</td></tr>"
    )


def _unjudged(each: Mapping[str, Any]) -> str:
    cell = _cell(each["expectation"], each["name"])
    return (
        f'<tr><td><span class="chip">not judged</span></td>{cell}<td class="soft number" colspan="2">{text(each["why"])}</td></tr>'
    )


def _cell(words: str, name: str) -> str:
    return f'<td class="what">{text(words)}<br><code>{text(name)}</code></td>'
