"""Rules for the text of every file: format, length, forbidden words, headers, modules."""
import re
import subprocess

from support import tree

LINES_MAX = 600
OWN_TEXT = (".h", ".cc", ".py", ".sh", ".cmake", ".mjs")
GOLDEN = "test/golden/"  # recorded bytes, kept as they came

# Written in two halves so that this file passes its own test.
FORBIDDEN = [
    (re.compile(r"(?<![\w.}-])/" + "work/"), "a path of somebody's machine"),
    (re.compile(r"(?<![\w.}-])/" + "(home/[a-z]|root/|tmp/)"), "a path of somebody's machine"),
    (re.compile("|".join(re.escape(a + b) for a, b in [
        ("pypi", ".org"), ("files.python", "hosted.org"), ("registry.npm", "js.org"), ("crates", ".io"),
        ("proxy.go", "lang.org"), ("deb.deb", "ian.org"), ("registry.yarn", "pkg.com")])),
     "the host name of a package registry: the user's own client knows where to fetch"),
    (re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b"), "an unfinished thought: finish it or open an issue"),
    (re.compile(r"^(<{7} |={7}$|>{7} )", re.MULTILINE), "a conflict marker of a merge"),
]


def forbidden_words(text):
    for pattern, why in FORBIDDEN:
        for match in pattern.finditer(text):
            yield text.count("\n", 0, match.start()) + 1, match.group(), why


def test_formatting():
    files = [str(f) for f in tree.cpp_files()]
    run = subprocess.run(["clang-format-19", "--dry-run", "-Werror", *files], cwd=tree.ROOT, capture_output=True,
                         text=True)
    bad = sorted(set(re.findall(r"^(\S+?):\d+:\d+: error", run.stderr, re.MULTILINE)))
    tree.assert_none(bad, "tools/lint.sh --fix formats them")
    assert run.returncode == 0, run.stderr


def test_files_stay_short():
    long = []
    for file in tree.files():
        if file.suffix in OWN_TEXT and not str(file).startswith(GOLDEN):
            lines = tree.read(file).count("\n")
            if lines > LINES_MAX:
                long.append(f"{file}: {lines} lines")
    tree.assert_none(long, f"the limit is {LINES_MAX}; split by subject")


def test_no_forbidden_words():
    found = []
    for file in tree.files():
        if str(file).startswith(GOLDEN) or str(file).startswith("fuzz/corpus/"):
            continue
        for line, word, why in forbidden_words(tree.read(file)):
            found.append(f"{file}:{line}: {word!r} is {why}")
    tree.assert_none(found)


def test_the_word_list_itself():
    hit = "x\n// TO" + "DO: later\n"
    assert [line for line, _, _ in forbidden_words(hit)] == [2]
    assert list(forbidden_words("see /" + "work/main"))
    assert list(forbidden_words("https://pypi" + ".org/simple"))
    assert not list(forbidden_words("src/net" + "work/a.cc, build/tmp/x, $HOME/tmp/, {dir}/tmp/"))


def test_headers_say_what_they_are():
    silent = []
    for file in tree.cpp_files():
        if file.suffix != ".h":
            continue
        text = tree.read(file)
        comment = re.match(r"(//.*\n)+#pragma once\n", text)
        if not comment or len(comment.group()) < 60:
            silent.append(str(file))
    tree.assert_none(silent, "a header opens with a comment (what, why, thread rule), then #pragma once")


def test_every_module_introduces_itself():
    missing = []
    for folder in sorted({f.parent for f in tree.cpp_files("src/")}):
        top = folder.parts[1]
        has_build = (tree.ROOT / folder / "CMakeLists.txt").is_file()
        if folder.name == top and not has_build:
            missing.append(f"{folder}/CMakeLists.txt")
        if (has_build or folder.name == top) and not (tree.ROOT / folder / "README.md").is_file():
            missing.append(f"{folder}/README.md")
    tree.assert_none(missing, "missing")


def test_every_source_is_built():
    unbuilt = []
    for file in tree.cpp_files("src/"):
        if file.suffix != ".cc":
            continue
        folder = file.parent
        while folder.name != "src" and not (tree.ROOT / folder / "CMakeLists.txt").is_file():
            folder = folder.parent
        lists = tree.read(folder / "CMakeLists.txt")
        globs = re.findall(r"file\(GLOB [^)]*?([\w*./-]*\*[\w*./-]*)\)", lists)
        if any(file.relative_to(folder).match(glob) for glob in globs):
            continue
        if not re.search(rf"(?<![\w.-]){re.escape(str(file.relative_to(folder)))}(?![\w.-])", lists):
            unbuilt.append(f"{file} is not named in {folder}/CMakeLists.txt")
    tree.assert_none(unbuilt)
