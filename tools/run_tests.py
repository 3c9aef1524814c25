"""Runs every test of the project and ends with one line: `N passed, N failed, N skipped`.

Unit programs, replays of fuzz corpora, the Python suites under test/ and the Node clients are all suites to it: each
prints one line with its counts and its duration, and a failing one prints the end of its output. Standard library
only. Exit code 0 when something ran and nothing failed, else 1.
"""
import argparse
import concurrent.futures
import os
import pathlib
import sys
import tempfile

from testrun import discover, report, suite

ROOT = pathlib.Path(__file__).resolve().parent.parent


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build/release", help="build folder to test (default: %(default)s)")
    parser.add_argument("--only", default="", metavar="SUBSTRING",
                        help="suites whose name contains it, or Python files whose path contains it")
    parser.add_argument("-j", type=int, default=2, metavar="N", dest="jobs",
                        help="unit programs and replays that run at once (default: %(default)s)")
    parser.add_argument("--list", action="store_true", help="print the names of the suites and stop")
    return parser.parse_args()


def run_all(suites, jobs, context, progress):
    """Unit programs and replays side by side, then the rest one after the other: they start whole platforms."""
    outcomes = []

    def one(item):
        outcome = suite.run(item, context)
        progress.finished(item, outcome)
        return outcome

    together = [s for s in suites if s.may_share_machine]
    alone = [s for s in suites if not s.may_share_machine]
    with concurrent.futures.ThreadPoolExecutor(max_workers=max(1, jobs)) as pool:
        try:
            outcomes += list(pool.map(one, together))
        except KeyboardInterrupt:
            suite.stop_everything()
            raise
    for item in alone:
        progress.started(item)
        outcomes.append(one(item))
    return outcomes


def main():
    arguments = parse_arguments()
    build = (ROOT / arguments.build).resolve()
    suites = discover.all_suites(ROOT, build, arguments.only)
    if arguments.list:
        print("\n".join(s.name for s in suites))
        return 0
    with tempfile.TemporaryDirectory(prefix="sluice-tests-") as scratch:
        environment = {**os.environ, "SLUICE_BUILD": str(build), "PYTHONDONTWRITEBYTECODE": "1"}
        for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES"):  # a test that runs make is not part of ours
            environment.pop(name, None)
        context = suite.Context(root=ROOT, build=build, scratch=pathlib.Path(scratch), environment=environment)
        progress = report.Progress(total=len(suites))
        try:
            outcomes = run_all(suites, arguments.jobs, context, progress)
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            return 130
    return report.summary(suites, outcomes)


if __name__ == "__main__":
    sys.exit(main())
