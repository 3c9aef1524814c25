#!/usr/bin/env python3
"""Runs benchmarks and writes docs/perf/<name>.md: `bench/run.py [gateway budget picker_budget routing cache worker start scrape latency]` (all without a name).
`bench/run.py system [--only … --scenarios …]` measures Sluice beside other routers (bench/peers.sh installs them); it runs only when named.

Nothing else should run on the machine. Figures are ratios taken in turn within one run; absolute times are of that machine."""
import argparse
import importlib
import pathlib
import shutil
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from suite.machine import ROOT, SLUICE, cpu_model  # noqa: E402

NAMES = ("start", "gateway", "budget", "picker_budget", "worker", "routing", "cache", "scrape", "latency")


def write(name, text, folder="docs/perf"):
    foot = f"\n\nMeasured on {cpu_model()}. Repeat with `bench/run.py {name}` after `make build`.\n"
    target = ROOT / folder / f"{name}.md"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text + foot)
    return target.relative_to(ROOT)


def main():
    if not SLUICE.exists():
        sys.exit("build/release/bin/sluice is missing: make build")
    if sys.argv[1:2] == ["system"]:  # has options of its own
        text, whole = importlib.import_module("suite.system").run(sys.argv[2:])
        target = write("system", text, "docs/perf" if whole else "build/bench")  # a part does not replace the whole
        print(text, f"\n    written to {target}", flush=True)
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of: {', '.join(NAMES)}")
    names = parser.parse_args().names or NAMES
    for name in names:
        if name not in NAMES:
            parser.error(f"no benchmark '{name}'; there are: {', '.join(NAMES)}")
    for tool in ("wrk", "nginx") if "gateway" in names else ():
        if shutil.which(tool) is None:
            parser.error(f"{tool} is missing: apt-get install --no-install-recommends wrk nginx-light")
    for name in names:
        begin = time.monotonic()
        print(f"==> {name}", flush=True)
        text = importlib.import_module(f"suite.{name}").run()
        target = write(name, text)
        print(text, f"\n    {time.monotonic() - begin:.0f} s, written to {target}", flush=True)


main()
