"""Reads what a runner reports into Counts. Each raises when there is no report: the suite then counts as failed."""
import json
import re
import xml.etree.ElementTree

from testrun.suite import Counts


def gtest(suite, context, code, output):
    counts = Counts()
    for group in json.loads(suite.result_file(context).read_text())["testsuites"]:
        for test in group["testsuite"]:
            name = f'{group["name"]}.{test["name"]}'
            if test.get("failures"):
                counts.failed += 1
                counts.failures.append(name)
            elif test["status"] == "NOTRUN" or test["result"] == "SKIPPED":
                counts.skipped += 1
                message = (test.get("skipped") or [{}])[0].get("message", "disabled").strip()
                counts.skip_reasons.append(f"{name}: {message.splitlines()[-1] if message else 'skipped'}")
            else:
                counts.passed += 1
    return counts


def replay(suite, context, code, output):
    return Counts(passed=1) if code == 0 else Counts(failed=1, failures=[suite.name])


def junit(suite, context, code, output):
    counts = Counts()
    try:
        document = xml.etree.ElementTree.parse(suite.result_file(context))
    except xml.etree.ElementTree.ParseError as error:
        raise ValueError(str(error)) from error
    for test in document.iter("testcase"):
        name = f'{test.get("classname")}.{test.get("name")}'
        skipped = test.find("skipped")
        if test.find("failure") is not None or test.find("error") is not None:
            counts.failed += 1
            counts.failures.append(name)
        elif skipped is not None:
            counts.skipped += 1
            counts.skip_reasons.append(f'{name}: {skipped.get("message")}')
        else:
            counts.passed += 1
    if code not in (0, 1) and counts.failed == 0:
        raise ValueError(f"pytest exit code {code}")
    return counts


def tap(suite, context, code, output):
    """Node's reporter ends with `# tests N`, `# pass N`, `# fail N`, `# cancelled N`, `# skipped N`, `# todo N`."""
    totals = {key: int(n) for key, n in
              re.findall(r"^# (tests|pass|fail|cancelled|skipped|todo) (\d+)$", output, re.MULTILINE)}
    if "tests" not in totals:
        raise ValueError("no totals in the output of node --test")
    return Counts(passed=totals["pass"], failed=totals["fail"] + totals["cancelled"],
                  skipped=totals["skipped"] + totals["todo"],
                  failures=re.findall(r"^ *not ok \d+ - (.*)$", output, re.MULTILINE),
                  skip_reasons=re.findall(r"^ *ok \d+ - (.* # SKIP.*)$", output, re.MULTILINE))
