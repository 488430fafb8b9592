"""Run by an interpreter that has llama_cpp: `llamacpp_peer.py TEXTS.json FILE OUT [FILE OUT ...]`.

OUT gets what llama.cpp makes of a GGUF: the ids of each text, the logits of ids 3 to 42, and what greedy decoding goes on with.
"""

import json
import sys
from pathlib import Path

import llama_cpp


def main(file: str, texts: Path, out: Path) -> None:
    model = llama_cpp.Llama(
        file, n_ctx=64, n_batch=64, logits_all=True, verbose=False, n_threads=2, type_k=0, type_v=0, flash_attn=False
    )
    encoded = [model.tokenize(text.encode(), add_bos=False, special=False) for text in json.loads(texts.read_text())]
    decoded = [model.detokenize(ids).decode(errors="replace") for ids in encoded]
    ids = list(range(3, 43))
    model.eval(ids)
    logits = model.scores[: len(ids)].tolist()
    model.reset()
    model.eval(ids[:10])
    answer = []
    for _ in range(20):
        answer.append(int(model.scores[model.n_tokens - 1].argmax()))
        model.eval(answer[-1:])
    told = {"encoded": encoded, "decoded": decoded, "logits": logits, "greedy": answer, "metadata": model.metadata}
    out.write_text(json.dumps(told))


if __name__ == "__main__":
    for file, out in zip(sys.argv[2::2], sys.argv[3::2], strict=True):
        main(file, Path(sys.argv[1]), Path(out))
