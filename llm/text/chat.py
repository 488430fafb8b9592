"""Chats in ChatML: one renderer makes the ids and the loss mask, and the template with which others make the same ids."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypedDict, get_args

from infra.store.errors import InputError
from llm.text.files import CONFIG
from llm.text.tokenizer import Tokenizer

START, END = "<|im_start|>", "<|im_end|>"
MARKERS: Final = (START, END)
Role = Literal["system", "user", "assistant"]
ROLES: Final[tuple[str, ...]] = get_args(Role)
_SAMPLE: Final = " a  b\n\n\tc é 日本 "


class Message(TypedDict):
    """One message of a chat."""

    role: str
    content: str


@dataclass(frozen=True)
class Rendered:
    """A chat as ids and, of the same length, a mask: 1 for what the assistant has to say, its stop token included."""

    ids: tuple[int, ...]
    mask: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, eq=False)
class ChatFormat:
    """`<|im_start|>ROLE`, a line end, the message, `<|im_end|>`, a line end; a tokenizer's bos, if it has one, stands before all.

    White space around a message is dropped, here and in the template: else a tokenizer could merge it with the line end before
    it, and an answer would not follow the ids that `prompt_ids` ends with. Text that spells a control token is text here.
    Readers of the template see a chat as one string and cannot tell: there it is refused.
    """

    tokenizer: Tokenizer
    start: int
    end: int

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> "ChatFormat":
        """Raises InputError for a tokenizer without the control tokens, or one that reads a text in pieces differently."""
        known = tokenizer.control_tokens()
        if missing := [name for name in MARKERS if name not in known]:
            raise InputError(
                f"the tokenizer has no control token {' and no '.join(missing)}, between which a chat's messages stand",
                where="tokenizer.json",
                mend="Finetune the model on instructions first: that adds them.",
            )
        chats = cls(tokenizer, known[START], known[END])
        chats._check_agreement()
        return chats

    @classmethod
    def load(cls, folder: Path) -> "ChatFormat | None":
        """That of a package; None where its tokenizer_config.json has no chat template, or another one than is rendered here."""
        settings = folder / CONFIG
        template = json.loads(settings.read_text()).get("chat_template") if settings.is_file() else None
        if template is None:
            return None
        tokenizer = Tokenizer.load(folder)
        return cls.of(tokenizer) if template == _template(tokenizer) else None

    def save(self, folder: Path) -> None:
        """Writes the template into the `tokenizer_config.json` that `Tokenizer.save` wrote."""
        path = folder / CONFIG
        settings = {**json.loads(path.read_text()), "chat_template": self.template}
        path.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")

    @property
    def stop(self) -> tuple[int, ...]:
        """The ids that end an answer: the marker, and the end of text that the base model knows."""
        return (self.end, self.tokenizer.eos)

    @property
    def template(self) -> str:
        """For `transformers`' apply_chat_template (Jinja): the same ids as here, or an error."""
        return _template(self.tokenizer)

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        """The chat so far, up to where the assistant's answer begins. Raises InputError for what is no list of messages."""
        return [*self.render(messages).ids, self.start, *self._header("assistant")]

    def render(self, messages: Sequence[Message]) -> Rendered:
        """The whole chat; what the assistant says in any of its messages is masked 1. Raises InputError."""
        _check(messages)
        ids = [] if self.tokenizer.bos is None else [self.tokenizer.bos]
        mask = [0] * len(ids)
        for message in messages:
            header, said = self._split(message)
            answers = int(message["role"] == "assistant")
            after = self.tokenizer.encode("\n")
            ids += [self.start, *header, *said, self.end, *after]
            mask += [0] * (1 + len(header)) + [answers] * (len(said) + 1) + [0] * len(after)
        return Rendered(tuple(ids), tuple(mask))

    def check_learns_to_stop(self, rows: Iterable[Rendered]) -> None:
        """Raises InputError unless in each row every stretch that is learnt ends with the stop token: else none would end."""
        for number, row in enumerate(rows, start=1):
            last = [place for place, masked in enumerate(row.mask) if masked and not any(row.mask[place + 1 : place + 2])]
            if not last or any(row.ids[place] != self.end for place in last):
                raise InputError(
                    f"row {number} does not teach the model to stop: {END} after its answer is not in the loss",
                    where="instructions",
                    mend="Leave out the row, or shorten it so that the whole answer fits.",
                )

    def _split(self, message: Message) -> tuple[list[int], list[int]]:
        """The ids of the role's line and of what is said. Together they are what the text as a whole is encoded to."""
        header = self._header(message["role"])
        whole = self.tokenizer.encode(f"{message['role']}\n{message['content'].strip()}")
        if whole[: len(header)] != header:
            raise InputError(
                "the tokenizer merges a message with the line end before it",
                where="tokenizer.json",
                mend="Use a tokenizer that splits a text at line ends, such as byte-level BPE.",
            )
        return header, whole[len(header) :]

    def _header(self, role: str) -> list[int]:
        return self.tokenizer.encode(f"{role}\n")

    def _check_agreement(self) -> None:
        """Others encode a chat as one string: the ids must be ours, and a marker that a user spells must not be one."""
        chat: list[Message] = [{"role": role, "content": _SAMPLE} for role in ROLES]
        bos = "" if self.tokenizer.bos is None else self._spelled(self.tokenizer.bos)
        text = bos + "".join(f"{START}{message['role']}\n{message['content'].strip()}{END}\n" for message in chat)
        spelled = self.tokenizer.encode(f"{START}{END}")
        if self.tokenizer.encode(text, control=True) != list(self.render(chat).ids) or {self.start, self.end} & {*spelled}:
            raise InputError(
                "the tokenizer does not keep a chat's markers apart from its text",
                where="tokenizer.json",
                mend=f"{START} and {END} must be special tokens that leave the text beside them as it is.",
            )

    def _spelled(self, index: int) -> str:
        return next(name for name, known in self.tokenizer.control_tokens().items() if known == index)


def knows_chats(folder: Path) -> bool:
    """Whether a model's folder has a chat template, ours or another one: the model has read the markers of a chat then."""
    settings = folder / CONFIG
    within = json.loads(settings.read_text()).get("chat_template") if settings.is_file() else None
    return bool(within) or (folder / "chat_template.jinja").is_file()


def _template(tokenizer: Tokenizer) -> str:
    control = json.dumps(list(tokenizer.control_tokens()), ensure_ascii=False)
    begin = "{{ bos_token }}" if tokenizer.bos is not None else ""
    return (
        f"{begin}{{% for message in messages %}}"
        f"{{% if message['role'] not in {list(ROLES)} %}}"
        "{{ raise_exception('a message is of ' + message['role'] + ', known are system, user and assistant') }}{% endif %}"
        f"{{% for token in {control} %}}{{% if token in message['content'] %}}"
        "{{ raise_exception('a message spells the control token ' + token) }}{% endif %}{% endfor %}"
        f"{{{{ '{START}' + message['role'] + '\\n' + (message['content'] | trim) + '{END}\\n' }}}}"
        f"{{% endfor %}}{{% if add_generation_prompt %}}{{{{ '{START}assistant\\n' }}}}{{% endif %}}"
    )


def _check(messages: Sequence[Message]) -> None:
    if not messages:
        raise InputError("a chat without messages", where="messages", mend='Give at least one: {"role": "user", "content": ...}.')
    for number, message in enumerate(messages, start=1):
        if message.get("role") not in ROLES:
            raise InputError(
                f"message {number} is of {message.get('role')!r}", where="messages", mend=f"The roles are {', '.join(ROLES)}."
            )
        if not isinstance(message.get("content"), str):
            raise InputError(f"message {number} has no text as its content", where="messages", mend="Give a string.")
