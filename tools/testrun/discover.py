"""Finds the suites: what the build folder holds, what lies under test/, and whether a tool to run it is there."""
import re
import sys

from testrun import count
from testrun.suite import Suite

UNIT_TIMEOUT_S = 300
REPLAY_TIMEOUT_S = 300
PYTHON_TIMEOUT_S = 1800
NODE_TIMEOUT_S = 900


def all_suites(root, build, only):
    suites = _unit(build) + _replays(root, build)
    suites = [s for s in suites if only in s.name]
    return suites + _python(root, only) + [s for s in _node(root) if only in s.name]


def _programs(folder, suffix):
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if p.name.endswith(suffix) and p.is_file())


def _unit(build):
    return [Suite(name="unit/" + program.name.removesuffix("_test"),
                  command=[str(program), "--gtest_output=json:{result}", "--gtest_color=no", "--gtest_brief=1"],
                  timeout_s=UNIT_TIMEOUT_S, count=count.gtest, may_share_machine=True)
            for program in _programs(build / "test", "_test")]


def _replays(root, build):
    cache = build / "CMakeCache.txt"
    libfuzzer = cache.is_file() and re.search(r"^SLUICE_FUZZ:\w+=ON$", cache.read_text(), re.MULTILINE)
    suites = []
    for program in _programs(build / "fuzz", "_fuzz"):
        corpus = root / "fuzz" / "corpus" / program.name
        command = [str(program)] + (["-runs=0"] if libfuzzer else []) + [str(corpus)]
        suites.append(Suite(name="fuzz/" + program.name, command=command, timeout_s=REPLAY_TIMEOUT_S,
                            count=count.replay, may_share_machine=True))
    return suites


def _python(root, only):
    """One suite for each folder of test/ with *_test.py files. A suite runs whole when its name matches, or only the
    files whose path does."""
    folders = {}
    for file in sorted((root / "test").rglob("*_test.py")):
        if "node_modules" in file.parts:
            continue
        folders.setdefault(file.relative_to(root / "test").parts[0], []).append(file)
    venv = root / "build" / "venv" / "bin" / "python"
    python = str(venv) if venv.exists() else sys.executable
    suites = []
    for folder, files in sorted(folders.items()):
        chosen = [root / "test" / folder] if only in folder else [f for f in files if only in str(f.relative_to(root))]
        if not chosen:
            continue
        command = [python, "-m", "pytest", "-c", str(root / "test" / "pytest.ini"), "--rootdir", str(root / "test"),
                   "-q", "-ra", "--tb=short", "--color=no", "--junitxml={result}", *map(str, chosen)]
        suites.append(Suite(name=folder, command=command, timeout_s=PYTHON_TIMEOUT_S, count=count.junit))
    return suites


def _node(root):
    folder = root / "test" / "interop" / "node"
    files = sorted(p for p in folder.glob("*.test.mjs")) if folder.is_dir() else []
    if not files:
        return []
    command = ["node", "--test", "--test-reporter=tap", *map(str, files)]
    return [Suite(name="interop/node", command=command, timeout_s=NODE_TIMEOUT_S, count=count.tap)]
