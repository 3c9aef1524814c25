#!/usr/bin/env python3
"""Trains the small tokenizers of test/golden/hf and records what Python's `tokenizers` makes of a list of texts.

Usage: python3 tools/make_hf_golden.py     (needs `pip install tokenizers==0.22.2`; run again only to change them)
"""
import json
import pathlib

from tokenizers import AddedToken, Regex, Tokenizer, __version__, decoders, models, normalizers, pre_tokenizers, processors, trainers

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = ROOT / "test/golden/hf"
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|fim|>"]
# The split of GPT-4's family: contractions, words, digits by three, punctuation, blanks.
SPLIT = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
         r"|\s+(?!\S)|\s+")
UNICODE = ["Größe, ça va? Привет, мир! 你好，世界。 こんにちは 안녕하세요 שלום مرحبا", "e\u0301 \u00e9 \ufb01 \u2126 ½ ⅷ", "👍🏽 👩‍👩‍👧 🏳️‍🌈"]


def byte_level():
    tok = Tokenizer(models.BPE())
    tok.normalizer = normalizers.NFC()
    tok.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(SPLIT), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tok.decoder = decoders.ByteLevel()
    return tok, trainers.BpeTrainer(vocab_size=1400, special_tokens=SPECIAL, show_progress=False,
                                    initial_alphabet=pre_tokenizers.ByteLevel.alphabet())


def metaspace():
    tok = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tok.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tok.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    bytes_ = [f"<0x{b:02X}>" for b in range(256)]
    return tok, trainers.BpeTrainer(vocab_size=900, special_tokens=["<unk>", "<s>", "</s>"] + bytes_, show_progress=False,
                                    limit_alphabet=150)


def texts():
    plain = [
        "", " ", "\n", "Hello, world!", "  two  blanks", "tab\tnew\r\nline\n\n\nend ", "I'LL they've IT'S 'S 'ſ don'T",
        "1 12 123 1234 12345.678", "snake_case CamelCase kConstant a->b::c()", "\u00a0non\u3000breaking\u2028line",
        "a" * 300, " " * 200 + "x", "\u0000nul\u0007bell", "x\u0301\u0301y", "\ud7a3\U0001f600\U0010fffd"]
    special = [
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n", "<|im_end|><|im_end|> x", "<|im_end", "|im_end|>",
        "<|im_start|>user\n<|im_start|>", " <|endoftext|>  after", "tool: <tool_call>\n{\"a\": 1}\n</tool_call>", "<s>a</s> b", "</s>"]
    return plain + UNICODE + special


def main():
    corpus = [p.read_text() for p in sorted((ROOT / "docs").rglob("*.md"))][:60]
    for name, make in (("byte-level", byte_level), ("metaspace", metaspace)):
        tok, trainer = make()
        tok.train_from_iterator(corpus + UNICODE * 3, trainer)
        if name == "byte-level":
            tok.add_tokens([AddedToken("<tool_call>", normalized=False), AddedToken("</tool_call>", normalized=False),
                            AddedToken("kConstant", normalized=True, single_word=True)])
            tok.add_special_tokens([AddedToken("<|strip|>", lstrip=True, rstrip=True, normalized=False, special=True)])
        else:
            bos = tok.token_to_id("<s>")
            tok.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", bos)])
        folder = OUT / name
        folder.mkdir(parents=True, exist_ok=True)
        data = json.loads(tok.to_str())
        if "merges" in data["model"]:
            data["model"]["merges"] = [" ".join(m) if isinstance(m, list) else m for m in data["model"]["merges"]]
        (folder / "tokenizer.json").write_text(json.dumps(data, ensure_ascii=False, separators=(",", ":")))
        tok = Tokenizer.from_file(str(folder / "tokenizer.json"))
        literal = Tokenizer.from_file(str(folder / "tokenizer.json"))
        literal.encode_special_tokens = True
        cases = []
        for text in texts() + ["a <|strip|> b", "a<|strip|>\n\n<|strip|>"]:
            ids = tok.encode(text).ids
            cases.append({"text": text, "ids": ids, "plain": tok.encode(text, add_special_tokens=False).ids,
                          "literal": literal.encode(text, add_special_tokens=False).ids,
                          "decoded": tok.decode(ids, skip_special_tokens=False), "skipped": tok.decode(ids)})
        (folder / "cases.json").write_text(json.dumps({"tokenizers": __version__, "vocab_size": tok.get_vocab_size(True),
                                                       "cases": cases}, indent=0))


if __name__ == "__main__":
    main()
