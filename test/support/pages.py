"""Markdown pages: their links, their anchors, and the command blocks that they ask to have run.

A block is run as a test when the line before it says so:

    <!-- run -->           in the project's folder, nothing else needed but a build
    <!-- run: folder -->   in an empty folder
    <!-- run: platform --> with a platform started by `sluice up` on free ports; addresses in the block are adapted

In a `bash` block everything is one script. In a `console` block the lines after `$ ` are commands and the lines below
a command are the output it must give, where `...` stands for anything.
"""
import dataclasses
import re

from support import tree


@dataclasses.dataclass(frozen=True)
class Block:
    page: str
    line: int
    needs: str      # "", "folder" or "platform"
    language: str   # "bash" or "console"
    text: str

    @property
    def name(self):
        return f"{self.page}:{self.line}"


_MARK = re.compile(r"^ *<!-- run(?:: (\w+))? -->$")
_FENCE = re.compile(r"^ *```(\w*)")


def blocks(page, text):
    lines = text.splitlines()
    found, inside_code = [], False
    number = 0
    while number < len(lines):
        mark = None if inside_code else _MARK.match(lines[number])
        if mark:
            fence = _FENCE.match(lines[number + 1]) if number + 1 < len(lines) else None
            if not fence or fence.group(1) not in ("bash", "console"):
                raise ValueError(f"{page}:{number + 1}: no bash or console block follows this mark")
            end = next(i for i in range(number + 2, len(lines)) if lines[i].strip() == "```")
            body = "\n".join(lines[number + 2:end])
            found.append(Block(page, number + 3, mark.group(1) or "", fence.group(1), body))
            number = end
        elif _FENCE.match(lines[number]):
            inside_code = not inside_code
        number += 1
    return found


def console_steps(text):
    """[(command, expected output or None)] of a console block. A command may go on over lines that end with a backslash."""
    steps, lines = [], text.splitlines()
    number = 0
    while number < len(lines):
        if not lines[number].startswith("$ "):
            raise ValueError(f"output without a command: {lines[number]!r}")
        command = lines[number][2:]
        while command.endswith("\\") and number + 1 < len(lines):
            number += 1
            command += "\n" + lines[number].removeprefix("> ")
        number += 1
        expected = []
        while number < len(lines) and not lines[number].startswith("$ "):
            expected.append(lines[number])
            number += 1
        steps.append((command, "\n".join(expected).strip() or None))
    return steps


def matches(expected, actual):
    pattern = ".*".join(re.escape(part) for part in expected.split("..."))
    return re.fullmatch(pattern, actual.strip(), re.DOTALL) is not None


def without_code(text):
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^ *```.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL))


def links(text):
    """Targets of [text](target) and <a href>, <img src>, outside code."""
    text = without_code(text)
    return re.findall(r"\]\(\s*<?([^)\s>]+)", text) + re.findall(r"(?:href|src)=\"([^\"]+)\"", text)


def anchors(text):
    """The anchors that headings get, in the spelling of the common renderers."""
    found = set()
    for heading in re.findall(r"^#{1,6} +(.*?)\s*#*$", re.sub(r"^ *```.*?^ *```$", "", text,
                                                              flags=re.MULTILINE | re.DOTALL), re.MULTILINE):
        base = re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")
        name, n = base, 0
        while name in found:
            n += 1
            name = f"{base}-{n}"
        found.add(name)
    return found


def broken_links():
    for page in tree.markdown_files():
        text = tree.read(page)
        for target in links(text):
            if re.match(r"[a-z][a-z0-9+.-]*:", target):
                continue
            path, _, anchor = target.partition("#")
            file = (tree.ROOT / page.parent / path).resolve() if path else tree.ROOT / page
            if not file.exists():
                yield f"{page}: {target} does not exist"
            elif anchor and file.suffix == ".md" and anchor not in anchors(file.read_text()):
                yield f"{page}: {target}: no such heading"
