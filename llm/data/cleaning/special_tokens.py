"""Control tokens spelt out in a text: harmless to our tokenizer, which never reads them as such, and a trap for others."""

import re
from collections.abc import Iterator
from typing import Final

from llm.data.rows import Finding

_SPELT: Final = re.compile(
    r"<\|[a-zA-Z0-9_]{1,40}\|>|(?<!\w)</?s>|<(?:bos|eos|pad|start_of_turn|end_of_turn)>|\[/?INST\]|<</?SYS>>|<｜[\w▁]{1,40}｜>"
)


def find_special_tokens(text: str) -> Iterator[Finding]:
    """Those of the usual families: ChatML, Llama, Mistral, Gemma, DeepSeek, GPT-2."""
    if "<" in text or "[" in text:
        yield from (Finding("special-token", *found.span()) for found in _SPELT.finditer(text))
