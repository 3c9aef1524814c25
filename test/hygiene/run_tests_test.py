"""tools/run_tests.py itself: what it counts, and that nothing can fail quietly."""
import json
import subprocess
import sys

import pytest

from support import tree
from testrun import count, report, suite

PASSING = {"testsuites": [{"name": "S", "testsuite": [
    {"name": "Good", "status": "RUN", "result": "COMPLETED"},
    {"name": "Skipped", "status": "RUN", "result": "SKIPPED"},
    {"name": "Off", "status": "NOTRUN", "result": "SUPPRESSED"}]}]}
FAILING = {"testsuites": [{"name": "S", "testsuite": [
    {"name": "Bad", "status": "RUN", "result": "COMPLETED", "failures": [{"failure": "1 != 2"}]}]}]}


@pytest.fixture
def run(tmp_path):
    def run(script, count=count.gtest, timeout_s=30):
        context = suite.Context(root=tmp_path, build=tmp_path, scratch=tmp_path, environment={"PATH": "/usr/bin:/bin"})
        item = suite.Suite("unit/x", ["bash", "-c", script, "bash", "{result}"], timeout_s, count)
        return suite.run(item, context)
    return run


def write(document):
    return f"cat > \"$1\" <<'END'\n{json.dumps(document)}\nEND\n"


def numbers(outcome):
    return outcome.counts.passed, outcome.counts.failed, outcome.counts.skipped


def test_counts_of_a_unit_program(run):
    assert numbers(run(write(PASSING))) == (1, 0, 2)
    outcome = run(write(FAILING) + "exit 1")
    assert numbers(outcome) == (0, 1, 0)
    assert outcome.counts.failures == ["S.Bad"] and outcome.problem == ""


def test_a_crash_is_a_failure(run):
    outcome = run("echo last words; kill -SEGV $$")
    assert numbers(outcome) == (0, 1, 0)
    assert "SIGSEGV" in outcome.problem and "last words" in outcome.output


def test_a_bad_ending_after_good_tests_is_a_failure(run):
    outcome = run(write(PASSING) + "exit 23")
    assert numbers(outcome) == (1, 1, 2)
    assert "exit code 23" in outcome.problem


def test_no_report_is_a_failure(run):
    assert numbers(run("true")) == (0, 1, 0)
    assert numbers(run("echo '<cut' > $1", count.junit)) == (0, 1, 0)
    assert numbers(run("true", count.tap)) == (0, 1, 0)


def test_a_hang_is_a_failure_and_ends(run):
    outcome = run("echo waiting; sleep 1000 & wait", timeout_s=0.2)
    assert numbers(outcome) == (0, 1, 0)
    assert "still running" in outcome.problem and "waiting" in outcome.output and outcome.seconds < 20


def test_counts_of_pytest(run):
    document = ('<testsuites><testsuite><testcase classname="m" name="a"/><testcase classname="m" name="b"><failure/>'
                '</testcase><testcase classname="m" name="c"><error/></testcase><testcase classname="m" name="d">'
                '<skipped message="no peer"/></testcase></testsuite></testsuites>')
    outcome = run(f"echo '{document}' > $1; exit 1", count.junit)
    assert numbers(outcome) == (1, 2, 1)
    assert outcome.counts.skip_reasons == ["m.d: no peer"]
    assert numbers(run("echo '<testsuites/>' > $1; exit 4", count.junit)) == (0, 1, 0)


def test_counts_of_node(run):
    assert numbers(run("printf '# tests 5\\n# pass 1\\n# cancelled 1\\n# fail 1\\n# skipped 1\\n# todo 1\\n'; exit 1",
                       count.tap)) == (1, 2, 2)


def test_the_sum(capsys):
    items = [suite.Suite("unit/a", [], 1, None, may_share_machine=True), suite.Suite("b", [], 1, None)]
    good, bad = suite.Outcome(suite.Counts(passed=2, skipped=1), 0, ""), suite.Outcome(suite.Counts(failed=1), 0, "")
    assert report.summary(items, [good, bad]) == 1
    out = capsys.readouterr().out.splitlines()
    assert out[-1] == "2 passed, 1 failed, 1 skipped" and "failed suites: b" in out
    assert report.summary(items, [good, good]) == 0
    capsys.readouterr()
    assert report.summary([], []) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "0 passed, 0 failed, 0 skipped"


def test_the_program_over_a_build_folder(tmp_path):
    (tmp_path / "test").mkdir()
    (tmp_path / "fuzz").mkdir()
    for name, script in [("test/good_test", "echo '%s' > ${1#--gtest_output=json:}" % json.dumps(PASSING)),
                         ("fuzz/bad_fuzz", "kill -ABRT $$")]:
        program = tmp_path / name
        program.write_text("#!/bin/bash\n" + script + "\n")
        program.chmod(0o755)

    def run(*arguments):
        done = subprocess.run([sys.executable, "tools/run_tests.py", "--build", str(tmp_path), *arguments],
                              cwd=tree.ROOT, capture_output=True, text=True)
        return done.returncode, done.stdout.splitlines()[-1], done.stdout

    code, last, out = run("--only", "unit/good")
    assert (code, last) == (0, "1 passed, 0 failed, 2 skipped")
    assert "skipped: S.Off: disabled" in out
    code, last, out = run("--only", "bad_fuzz")
    assert (code, last) == (1, "0 passed, 1 failed, 0 skipped")
    assert "failed suites: fuzz/bad_fuzz" in out
    code, last, _ = run("--only", "no such suite")
    assert (code, last) == (1, "0 passed, 0 failed, 0 skipped")
