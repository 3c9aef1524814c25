#!/usr/bin/env python3
"""Trains the small tokenizers of test/golden/hf and records what Python's `tokenizers` makes of a list of texts.

Also what Jinja2 makes of conversations in the form that vLLM gives to chat templates (chat.json).

Usage: python3 tools/make_hf_golden.py     (needs `pip install tokenizers==0.22.2 jinja2`; run again only to change them)
"""
import copy
import json
import pathlib

import jinja2.ext
import jinja2.sandbox
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


CHATML = ("{%- if tools %}\n    {{- '<|im_start|>system\\n' }}\n    {%- if messages[0].role == 'system' %}"
          "{{- messages[0].content + '\\n\\n' }}{%- endif %}\n    {{- '# Tools' }}\n    {%- for tool in tools %}\n"
          "        {{- '\\n' }}{{- tool | tojson }}\n    {%- endfor %}\n    {{- '<|im_end|>\\n' }}\n"
          "{%- elif messages[0].role == 'system' %}\n    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}\n"
          "{%- endif %}\n{%- for message in messages %}\n    {%- if message.role == 'user' or (message.role == 'system' and not loop.first) %}\n"
          "        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}\n"
          "    {%- elif message.role == 'assistant' %}\n        {{- '<|im_start|>assistant\\n' }}\n"
          "        {%- if message.reasoning_content %}{{- '<think>' + message.reasoning_content.strip() + '</think>' }}{%- endif %}\n"
          "        {{- message.content }}\n        {%- for call in message.tool_calls or [] %}\n"
          "            {{- '\\n<tool_call>\\n' + (call.function | tojson) + '\\n</tool_call>' }}\n        {%- endfor %}\n"
          "        {{- '<|im_end|>\\n' }}\n    {%- elif message.role == 'tool' %}\n"
          "        {{- '<|im_start|>user\\n<tool_response>' + message.content + '</tool_response><|im_end|>\\n' }}\n"
          "    {%- endif %}\n{%- endfor %}\n{%- if add_generation_prompt %}\n    {{- '<|im_start|>assistant\\n' }}\n"
          "    {%- if enable_thinking is defined and enable_thinking is false %}{{- '<think></think>' }}{%- endif %}\n{%- endif %}\n")
# Lines as blocks, content trimmed, a BOS, tools in the first user message, as the Llama family has it.
LINES = """{{ bos_token }}
{% if tools is not none and tool_choice != 'x' %}
    {% set ns = namespace(first=true) %}
{% endif %}
{% for message in messages %}
  {% if message['role'] == 'user' and tools and ns.first %}
    {% set ns.first = false %}
[TOOLS]{{ tools | map(attribute='function') | list | tojson(indent=4) }}[/TOOLS]
  {% endif %}
<|{{ message['role'] }}|>{% if message['name'] is defined %} ({{ message.name | upper }}){% endif %}

{{ message['content'] | trim }}<|eot|>
  {% if message.tool_calls is defined %}{% for c in message.tool_calls %}
{{ c.id }}: {{ c.function.name }}({% for k, v in c.function.arguments.items() %}{{ k }}={{ v }}{{ ", " if not loop.last }}{% endfor %})
  {% endfor %}{% endif %}
{% endfor %}
{% if add_generation_prompt %}<|assistant|>{% endif %}"""
# Content as parts.
PARTS = ("{% for m in messages %}{{ '<' + m['role'] + '>' }}{% if m['content'] is string %}{{ m['content'] }}{% else %}"
         "{% for part in m['content'] %}{% if part['type'] == 'image' %}<image>{% elif 'text' in part %}{{ part['text'] }}|{% endif %}"
         "{% endfor %}{% endif %}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}")
MACRO = ("{% macro show(content) %}{% if content is string %}{{ content }}{% else %}{% for item in content %}[{{ item.text }}]"
         "{% endfor %}{% endif %}{% endmacro %}{% set all = messages[0:] %}{% for message in all %}{{ message.role }}: "
         "{{ show(message.content) }}\n{% endfor %}")
TOOL = {"type": "function", "function": {"name": "get_weather", "description": "Wetter für \"eine\" Stadt <b>&'", "strict": True, "x": 1,
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer", "maximum": 14},
                                                        "share": {"type": "number", "default": 0.25}}, "required": ["city"]}}}
CALLS = [{"type": "function", "index": 0, "id": "call_1", "function": {"name": "get_weather", "arguments": "{\"city\": \"Zürich\", \"n\": 2}"}},
         {"id": "call_2", "type": "function", "function": {"name": "now", "arguments": ""}}]


def bodies():
    user = {"role": "user", "content": "  Wie ist das Wetter?\n"}
    system = {"role": "system", "content": "Be brief."}
    talk = [system, user, {"role": "assistant", "content": "Gut. "}, {"role": "user", "name": "ann", "content": "Und morgen? 👍🏽"}]
    called = [user, {"role": "assistant", "content": None, "tool_calls": CALLS},
              {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "15°"}, {"type": "text", "text": "dry"}]},
              {"role": "tool", "tool_call_id": "call_2", "content": "noon"}]
    parts = [{"role": "user", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]}]
    yield {"messages": [user]}
    yield {"messages": talk}
    yield {"messages": talk, "add_generation_prompt": False}
    yield {"messages": called, "tools": [TOOL, {"type": "function", "function": {"name": "now"}}]}
    yield {"messages": called}
    yield {"messages": talk, "tools": [], "tool_choice": "none"}
    yield {"messages": talk, "tools": [TOOL], "tool_choice": "none"}
    yield {"messages": parts}
    yield {"messages": talk[:3], "add_generation_prompt": False, "continue_final_message": True}
    yield {"messages": [user, {"role": "assistant", "content": [{"type": "text", "text": "It is"}]}], "add_generation_prompt": False,
           "continue_final_message": True}
    yield {"messages": [user], "chat_template_kwargs": {"enable_thinking": False}}
    yield {"messages": [user], "reasoning_effort": "none"}
    yield {"messages": [user], "reasoning_effort": "high", "chat_template_kwargs": {"enable_thinking": False}}
    yield {"messages": [user, {"role": "assistant", "reasoning": " because ", "content": "Yes"}, user]}
    yield {"messages": [user, {"role": "assistant", "content": "x", "tool_calls": []}, user]}
    yield {"messages": [{"role": "developer", "content": "Dev."}, user]}
    yield {"messages": [system, {"role": "developer", "content": "Dev."}, user]}
    yield {"messages": [{"role": "system", "content": "x-anthropic-billing-header: cch=1;\nYou help."}, user]}


def shaped(body, as_parts):
    """The messages as vLLM 0.32 shapes them; written from its behaviour, apart from the C++."""
    out = []
    for m in copy.deepcopy(body["messages"]):
        content = m.get("content")
        texts = [content] if isinstance(content, str) else [p["text"] for p in content or []]
        if m["role"] == "system":
            texts = [t.partition("\n")[2] if t.startswith("x-anthropic-billing-header") else t for t in texts]
        new = {"role": m["role"]}
        wrap = as_parts and m["role"] != "tool"
        new["content"] = [{"type": "text", "text": t} for t in texts] if wrap else "\n".join(texts)
        if m.get("tool_calls"):
            new["tool_calls"] = [{"id": c["id"], "function": {"arguments": json.loads(c["function"]["arguments"] or "{}"),
                                                              "name": c["function"]["name"]}, "type": "function"} for c in m["tool_calls"]]
        if "reasoning" in m:
            new["reasoning"] = new["reasoning_content"] = m["reasoning"]
        if "tool_call_id" in m:
            new["tool_call_id"] = m["tool_call_id"]
        if "name" in m:
            new["name"] = m["name"]
        out.append(new)
    if any(m["role"] == "developer" for m in out):
        for m in out:
            m["role"] = "system" if m["role"] == "developer" else m["role"]
        flat = ["\n".join(p["text"] for p in m["content"]) if isinstance(m["content"], list) else m["content"]
                for m in out if m["role"] == "system"]
        if any(m["role"] == "system" for m in out[1:]):
            out = [{"role": "system", "content": "\n\n".join(flat)}] + [m for m in out if m["role"] != "system"]
    return out


def render(environment, template, as_parts, body):
    messages = shaped(body, as_parts)
    tools = body.get("tools")
    if tools is not None:
        keep = ("name", "description", "parameters", "strict")
        tools = [{"type": "function", "function": {k: t["function"].get(k) for k in keep if k in t["function"] or k != "strict"}} for t in tools]
    kwargs = dict(body.get("chat_template_kwargs", {}))
    if "reasoning_effort" in body:
        kwargs.setdefault("enable_thinking", body["reasoning_effort"] != "none")
        kwargs["reasoning_effort"] = body["reasoning_effort"]
    tag = "CONTINUE_FINAL_MESSAGE_TAG "
    if body.get("continue_final_message"):
        last = messages[-1]
        if isinstance(last["content"], list):
            last["content"][-1]["text"] += tag
        else:
            last["content"] += tag
    text = environment.from_string(template).render(
        messages=messages, tools=tools, documents=None, add_generation_prompt=body.get("add_generation_prompt", True),
        continue_final_message=body.get("continue_final_message", False), bos_token="<s>", eos_token="</s>", **kwargs)
    if body.get("continue_final_message"):
        at = text.rindex(tag.strip())
        text = text[:at] if text[at:at + len(tag)] == tag else text[:at].rstrip()
    return text


def chats():
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols])
    environment.filters["tojson"] = lambda x, indent=None: json.dumps(x, ensure_ascii=False, indent=indent)
    cases = []
    for name, template, as_parts in (("chatml", CHATML, False), ("lines", LINES, False), ("parts", PARTS, True), ("macro", MACRO, True)):
        for body in bodies():
            if body.get("continue_final_message") and name == "macro":
                continue
            cases.append({"template": name, "body": body, "prompt": render(environment, template, as_parts, body)})
    texts = {"chatml": CHATML, "lines": LINES, "parts": PARTS, "macro": MACRO}
    (OUT / "chat.json").write_text(json.dumps({"templates": texts, "cases": cases}, ensure_ascii=False, indent=0))


def main():
    chats()
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
        if name == "byte-level":
            config = {"eos_token": {"content": "<|im_end|>", "special": True}, "bos_token": None, "chat_template": CHATML}
        else:
            config = {"bos_token": "<s>", "eos_token": "</s>", "chat_template": [{"name": "default", "template": "unused"}]}
            (folder / "chat_template.jinja").write_text(LINES)
        (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1))
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
