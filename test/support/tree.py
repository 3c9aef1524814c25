"""The project's own files: tracked by git, or new and not ignored. Paths are relative to the root."""
import functools
import os
import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("SLUICE_BUILD", ROOT / "build" / "release"))
PROGRAM = pathlib.Path(os.environ.get("SLUICE_BIN", BUILD / "bin" / "sluice"))


@functools.cache
def files():
    # The folder may belong to another user than the one who tests, hence safe.directory.
    listing = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, check=True).stdout.decode()
    return [pathlib.Path(name) for name in sorted(set(listing.split("\0"))) if name and (ROOT / name).is_file()]


def cpp_files(under=""):
    return [f for f in files() if f.suffix in (".h", ".cc") and str(f).startswith(under)]


def markdown_files():
    return [f for f in files() if f.suffix == ".md"]


def read(path):
    return (ROOT / path).read_text(errors="replace")


def includes(path):
    """(line number, spelling, quoted?) of each #include of a file."""
    found = []
    for number, line in enumerate(read(path).splitlines(), 1):
        match = re.match(r'\s*#\s*include\s+([<"])([^>"]+)[>"]', line)
        if match:
            found.append((number, match.group(2), match.group(1) == '"'))
    return found


def assert_none(problems, hint=""):
    """Fails with one problem a line."""
    problems = list(problems)
    assert not problems, "\n" + "\n".join(map(str, problems)) + (f"\n({hint})" if hint else "")
