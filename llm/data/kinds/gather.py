"""Rows of a source become examples: read, cleaned as far as their kind can bear, and each there once."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic

from llm.data.cleaning.config import NO_LIMITS, CleaningConfig
from llm.data.cleaning.pipeline import Cleaner
from llm.data.kinds.draft import Draft, WrongRowError, turned_away
from llm.data.kinds.kind import Kind, X
from llm.data.kinds.reader import Reader
from llm.data.kinds.result import Noticed, Rows
from llm.data.rows import Finding, Rejected, Row


def suited(config: CleaningConfig) -> CleaningConfig:
    """The part of cleaning that takes no signal away from examples: repair, personal data, contamination, repetitions.

    Without limits on length, form and language: "Yes." is an answer, and a spam mail is known by its form.
    """
    return replace(config, html="keep", languages=(), quality=NO_LIMITS, boilerplate=False)


@dataclass(frozen=True)
class Read(Generic[X]):
    """An example with the row it was made of, and what was found in its texts, by field."""

    row: Row
    example: X
    findings: tuple[tuple[Finding, str], ...] = ()

    def away(self, of: Kind[X], reason: str, detail: str) -> Rejected:
        return turned_away(self.row, reason, detail, of.whole(self.example))


def gather(of: Kind[X], rows: Iterable[Row | Rejected], reader: Reader[X], cleaner: Cleaner | None = None) -> Rows[X]:
    """All rows as examples of a kind. Nothing is lost: each row is kept, or rejected with its reason.

    cleaner: of `suited` settings; without one, texts are left as they are, and nothing is looked for in them.
    """
    kept: list[Read[X]] = []
    rejected: list[Rejected] = []
    forms: Counter[str] = Counter()
    for row in rows:
        if isinstance(row, Rejected):
            rejected.append(row)
            continue
        try:
            draft = reader.read(row)
            forms[draft.form] += 1
            kept.append(Read(replace(row, fields={}), *_cleaned(draft, cleaner)))
        except WrongRowError as error:
            rejected.append(error.of(row))
    found = reader.columns or "; ".join(form if len(forms) == 1 else f"{count:,} {form}" for form, count in forms.most_common())
    return sorted_out(of, kept, rejected, columns=found, cleaning=cleaner.config if cleaner else None)


def sorted_out(
    of: Kind[X],
    read: Sequence[Read[X]],
    rejected: Sequence[Rejected] = (),
    *,
    columns: str = "",
    cleaning: CleaningConfig | None = None,
) -> Rows[X]:
    """Examples of which none is there twice, and no two say different things of the same. The first of equals is kept.

    read: what could be read, in its order. Near repetitions are counted, and left out where `cleaning` asks for it.
    """
    groups: dict[str, list[Read[X]]] = {}
    for each in read:
        groups.setdefault(of.same(each.example), []).append(each)
    kept: list[Read[X]] = []
    left_out: list[Rejected] = []
    for group in groups.values():
        if len({of.says(each.example) for each in group}) > 1:
            left_out += [each.away(of, "label-conflict", _conflict(of, each, group)) for each in group]
            continue
        kept.append(group[0])
        left_out += [each.away(of, "exact-duplicate", f"repeats {group[0].row.id}") for each in group[1:]]
    near: list[tuple[str, str]] = []
    if cleaning is not None and cleaning.duplicates != "keep":
        firsts = _near(of, kept, cleaning.similarity)
        if cleaning.duplicates == "near":
            left_out += [kept[place].away(of, "near-duplicate", f"is like {kept[first].row.id}") for place, first in firsts.items()]
            kept = [each for place, each in enumerate(kept) if place not in firsts]
        else:
            near = [(kept[place].row.id, kept[first].row.id) for place, first in firsts.items()]
    return Rows(
        of,
        tuple(each.example for each in kept),
        tuple(sorted((*rejected, *left_out), key=lambda each: (each.source, each.row))),
        len(read) + len(rejected),
        findings=tuple(Noticed(each.example.id, finding, field) for each in kept for finding, field in each.findings),
        sources=tuple(each.row.source for each in kept),
        columns_found=columns,
        near=tuple(near),
        cleaning=cleaning,
    )


def _cleaned(draft: Draft[X], cleaner: Cleaner | None) -> tuple[X, tuple[tuple[Finding, str], ...]]:
    """The example of a draft's texts, cleaned, and what was found in them. Raises WrongRowError for one that is to be left out."""
    example = draft.make(draft.texts)  # what is wrong with a row is said of it as it was read
    if cleaner is None:
        return example, ()
    texts, findings = dict(draft.texts), list[tuple[Finding, str]]()
    for field, text in draft.texts.items():
        if not text.strip():
            continue
        cleaned = cleaner.clean(text)
        if cleaned.reason:
            raise WrongRowError(cleaned.reason, f'"{field}": {cleaned.detail}' if cleaned.detail else f'"{field}"')
        texts[field] = cleaned.text
        findings += [(finding, field) for finding in cleaned.findings]
    return (draft.make(texts) if texts != draft.texts else example), tuple(findings)


def _conflict(of: Kind[X], each: Read[X], group: Sequence[Read[X]]) -> str:
    says = of.says(each.example)
    other = next(one for one in group if of.says(one.example) != says)
    label = of.label(other.example)
    return f"{other.row.id} says {label!r} of the same text" if label else f"{other.row.id} chooses the other answer"


def _near(of: Kind[X], kept: Sequence[Read[X]], similarity: float) -> Mapping[int, int]:
    """The place of each example that is nearly an earlier one, and of that one."""
    from llm.data.cleaning.duplicates import near_duplicates_of  # rensa: only where rows are cleaned

    firsts = near_duplicates_of([of.whole(each.example) for each in kept], similarity)
    return {place: first for place, first in enumerate(firsts) if first is not None}
