"""Code that must not compile. Each file of test/compile_fail/ compiles as it is, and with -DBROKEN is refused with the
diagnostic that its line `// expect: TEXT` names: so it fails for its own reason and not for a stale include."""
import re
import subprocess

import pytest

from support import tree

FILES = sorted((tree.ROOT / "test" / "compile_fail").glob("*.cc"))
COMPILE = ["clang++-19", "-std=c++20", "-fsyntax-only", "-fno-color-diagnostics", "-Wall", "-Wextra", "-Werror",
           "-I", "src"]


def compile_file(path, *flags):
    return subprocess.run([*COMPILE, *flags, str(path)], cwd=tree.ROOT, capture_output=True, text=True)


def test_there_are_some():
    assert FILES


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_is_refused(path):
    expected = re.findall(r"^// expect: (.+)$", path.read_text(), re.MULTILINE)
    assert expected, f"{path.name} has no line `// expect: TEXT`"
    sound = compile_file(path)
    assert sound.returncode == 0, f"{path.name} does not compile without -DBROKEN:\n{sound.stderr}"
    broken = compile_file(path, "-DBROKEN")
    assert broken.returncode != 0, f"{path.name} compiles with -DBROKEN, but must not"
    errors = [line for line in broken.stderr.splitlines() if "error:" in line]
    for text in expected:
        assert any(text in line for line in errors), f"expected {text!r} in:\n" + "\n".join(errors)
