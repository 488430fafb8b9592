"""A dataset's card and its rows, for people."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from flows.cli.output import size

_SOURCES: Final = 10
_LINES: Final = 8  # of a text
_CHARACTERS: Final = 600
_CONTROLS: Final = {code: f"\\x{code:02x}" for code in [*range(32), *range(127, 160)] if chr(code) not in "\n\t"}
"""A text may hold what steers a terminal: it is shown, and steers nothing."""


def card_text(card: Mapping[str, Any]) -> str:
    """Name and kind, what it holds, where from, how it was cleaned and judged."""
    head = f"{card['name']}/{card['version']}: {card['kind']}"
    lines = [f"{head}, {size(card['stored_bytes'])} in {card['files']} file{'s' * (card['files'] != 1)}"]
    if card["kind"] == "corpus":
        lines.append(f"  {card['rows']:,} documents, {size(card['bytes'])} of text")
    lines += [f"  {split}: {_counted(card['kind'], counts)}" for split, counts in card.get("splits", {}).items()]
    lines += [f"  {name}: {_mixed(of)}" for name, of in card.get("mixture", {}).items()]
    lines += [
        f"  {key}: {card[key]}"
        for key in (
            "licence",
            "interpreter",
            "vocabulary",
            "tokenizer",
            "split_by",
            "corpus",
            "invalid",
            "duplicates",
            "conflicts",
            "seen",
            "report",
        )
        if card.get(key)
    ]
    lines += [f"  {words}: {_counts(card[key])}" for key, words in _CLEANED.items() if card.get(key)]
    lines += _verdict(card.get("validation") or {})
    lines += _sources(card.get("sources", []))
    return "\n".join(lines)


def samples_text(samples: Sequence[Mapping[str, Any]]) -> list[str]:
    """Each row under a line that says which it is."""
    lines: list[str] = []
    for sample in samples:
        lines += ["", f"{_title(sample)}:", *(line for name, text in _said(sample) for line in _paragraph(name, text))]
    return lines


_CLEANED: Final = {"rejected": "left out", "found": "found and kept", "cleaning": "cleaning"}


def _counted(kind: str, counts: Any) -> str:
    if kind == "classification":
        return f"{sum(counts.values()):,} texts ({', '.join(f'{label} {count:,}' for label, count in counts.items())})"
    if kind == "instruction":
        return f"{counts:,} questions with answers"
    if kind == "preference":
        return f"{counts:,} pairs of answers"
    return f"{counts['documents']:,} documents, {counts['tokens']:,} tokens, {size(counts['bytes'])}"


def _mixed(of: Any) -> str:
    """Of a corpus, bytes; of tokens, how a source is taken."""
    if not isinstance(of, Mapping):
        return f"{size(of)} of text"
    return f"{of['share']:.1%} of the training tokens, {of['weight']:.1%} asked; its {of['tokens']:,} taken {of['times']:.2f} times"


def _counts(values: Any) -> str:
    """Numbers by name; of what is nested, and of settings, as it is."""
    if not isinstance(values, Mapping):
        return str(values)
    return ", ".join(
        f"{name} {value:,}" if isinstance(value, int) else f"{name} {_counts(value)}" for name, value in values.items()
    )


def _verdict(validation: Mapping[str, Any]) -> list[str]:
    """Whether it passed, what did not hold, and who waived it until when."""
    judged: Sequence[Mapping[str, Any]] = validation.get("expectations", ())
    if "passed" not in validation:
        return []
    held = sum(bool(each.get("success")) for each in judged)
    lines = [f"  validation: {'passed' if validation['passed'] else 'refused'}, {held} of {len(judged)} expectations hold"]
    for each in judged:
        if not each.get("success"):
            waiver = each.get("waiver")
            by = f", waived by {waiver['who']} until {waiver['expires']}: {waiver['reason']}" if waiver else ""
            asked = each.get("asked", each.get("limit"))
            lines.append(f"    {each.get('verdict', 'failed')}: {each['name']}, {each.get('observed')} where {asked} is asked{by}")
    return lines


def _sources(sources: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = []
    for source in sources[:_SOURCES]:
        licence = f", licence {source['licence']}" if source.get("licence") else ""
        lines.append(f"  from {source['name']}, {size(source['bytes'])}, sha256 {source['sha256'][:12]}{licence}")
    return lines + ([f"  and {len(sources) - _SOURCES:,} files more"] if len(sources) > _SOURCES else [])


def _title(sample: Mapping[str, Any]) -> str:
    named = f"document {sample['document']:,}, {sample['tokens']:,} tokens" if "document" in sample else str(sample["id"])
    beside = [f"{name} {sample[name]}" for name in ("source", "label") if name in sample]
    return ", ".join([*([sample["split"]] if "split" in sample else []), named, *beside])


def _said(sample: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(who, what) of a row: of a text nobody."""
    chat = [(message["role"], message["content"]) for message in sample.get("messages", sample.get("prompt", ()))]
    return chat + [("" if name == "text" else name, sample[name]) for name in ("chosen", "rejected", "text") if name in sample]


def _paragraph(name: str, text: str) -> list[str]:
    shown = text[:_CHARACTERS].translate(_CONTROLS).strip("\n").split("\n")[:_LINES]
    if len("\n".join(shown)) < len(text.translate(_CONTROLS).strip("\n")):
        shown[-1] += " …"
    head = f"  {name}: " if name else "  "
    return [f"{head}{shown[0]}", *(f"  {line}" for line in shown[1:])]
