"""Sluice and its peers in one run: every router before the same pool of fake engines, driven in turn with the same load. Options:
`bench/run.py system --only sluice,nginx --scenarios plain,stream --rounds 1 --seconds 1`. The peers come from bench/peers.sh."""
import argparse
import contextlib
import json
import os
import pathlib
import resource
import subprocess
import tempfile
import time

from suite import machine, system_pages
from suite.contenders import ALL, Router, start_all
from suite.machine import BUILD, free_port, get, process, wait_for

METRICS = """vllm:num_requests_waiting{engine="0",model_name="fake"} 0.0
vllm:num_requests_running{engine="0",model_name="fake"} 1.0
vllm:kv_cache_usage_perc{engine="0",model_name="fake"} 0.1
vllm:gpu_cache_usage_perc{engine="0",model_name="fake"} 0.1
vllm:lora_requests_info{max_lora="0",running_lora_adapters="",waiting_lora_adapters=""} 1.0
vllm:cache_config_info{block_size="16",engine="0",num_gpu_blocks="27000"} 1.0
"""
ENVOYS = ("sluice-epp", "sluice-epp-lean", "gie")
LONG = ("direct", "sluice", "sluice-prefix", "sluice-epp", "sluice-epp-lean", "gie", "vllm-cache", "sglang-cache", "nginx", "envoy")
STREAMS = 10_000


class Scenario:
    """One load. `engine`: what streams are; `load`: flags of load_driver; `fresh`: each router is started for it alone."""

    def __init__(self, title, kind, load=(), engine=None, who=None, rounds=None, seconds=1.0, fresh=False, endpoints=2, text=""):
        self.title, self.kind, self.load, self.text = title, kind, list(load), text
        self.engine = {"tokens": 1, "interval_ms": 0, "burst": 1, **(engine or {})}
        self.who, self.rounds, self.fresh, self.endpoints = who or tuple(ALL), rounds, fresh, endpoints
        self.seconds = seconds  # in units of --seconds


def stream(tokens, *flags):
    return ["--stream", "--tokens", tokens, *flags]


SCENARIOS = {
    "plain": Scenario("Plain requests, 64 connections", "cost", ["--connections", 64]),
    "prompt4k": Scenario("Plain requests with a prompt of 4 KB, 64 connections", "cost", ["--connections", 64, "--prompt-bytes", 4096],
                         rounds=2),
    "stream": Scenario("Streams of 200 tokens, back to back, 64 connections", "cost", stream(200, "--connections", 64),
                       {"tokens": 200}),
    "paced": Scenario("Streams of 200 tokens, 10 ms apart, 200 connections", "cost", stream(200, "--connections", 200),
                      {"tokens": 200, "interval_ms": 10}, rounds=2),
    "latency": Scenario("Added latency: one connection, plain requests", "latency", ["--connections", 1],
                        who=("direct", *ALL), rounds=2, seconds=0.5),
    "load500": Scenario("500 requests a second, 200 tokens in, 100 out, streamed 10 ms apart", "cores",
                        stream(100, "--rate", 500, "--in-flight-max", 3000), {"tokens": 100, "interval_ms": 10},
                        ("direct", "floor", "sluice", "sluice-prefix", *ENVOYS, "vllm", "vllm-cache", "sglang-cache", "nginx", "envoy"),
                        seconds=2.5, rounds=2),
    "chunks": Scenario("100,000 chunks a second, each alone: 1,000 streams, 10 ms apart", "cores",
                       stream(200, "--connections", 1000, "--ramp", 0.5), {"tokens": 200, "interval_ms": 10},
                       ("floor", "sluice", "sluice-prefix", "nginx"), seconds=1.5, rounds=2),
    "bursts": Scenario("100,000 chunks a second in bursts of 8: 1,000 streams, 80 ms apart", "cores",
                       stream(200, "--connections", 1000, "--ramp", 0.5), {"tokens": 200, "interval_ms": 80, "burst": 8},
                       ("floor", "sluice", "sluice-prefix", "sluice-epp-lean", "vllm", "nginx"), seconds=1.5, rounds=2),
    "prompt100k": Scenario("Prompts of 100,000 tokens (400 KB), 100 a second", "cores",
                           ["--rate", 100, "--prompt-bytes", 400_000, "--groups", 8, "--in-flight-max", 500], who=LONG, seconds=2.5, rounds=1),
    "prompt1m": Scenario("Prompts of 1,000,000 tokens (4 MB), 10 a second", "cores",
                         ["--rate", 10, "--prompt-bytes", 4_000_000, "--groups", 4, "--in-flight-max", 100], who=LONG, seconds=2.5, rounds=1, fresh=True),
    "idle": Scenario("Idle, 100 endpoints", "idle", who=("sluice-prefix", "sluice-epp", "gie", "vllm", "sglang"), rounds=1,
                     seconds=3, fresh=True, endpoints=100,
                     text="Nobody asks anything; Sluice and upstream's picker scrape each endpoint 20 times a second."),
    "streams10k": Scenario("Concurrent streams", "streams", who=("sluice", "sluice-prefix", "nginx", "envoy", "sluice-epp-lean"), rounds=1,
                           engine={"tokens": 12, "interval_ms": 1000}, fresh=True,
                           text="10,000, or as many as the machine's limit of descriptors lets one process relay (two each)."),
}


def raise_descriptor_limit():
    """Two descriptors a stream in a router. Returns how many streams there can be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in (65_536, hard):
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(wanted, hard)))
            break
    return min(STREAMS, (resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 1000) // 2)


def busy_seconds():
    fields = [int(n) for n in pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    return (sum(fields) - fields[3] - fields[4]) / machine.TICK


class Pool:
    """One fake engine process on every loopback address: as many endpoints as are wanted."""

    def __init__(self, stack, folder):
        page = pathlib.Path(folder) / "metrics.txt"
        page.write_text(METRICS)
        self.port = free_port()
        stack.enter_context(process(BUILD / "bench" / "fake_engine", self.port, 1, 0, page))
        wait_for(f"http://127.0.0.1:{self.port}/health")

    def addresses(self, count):
        return [f"127.0.0.{i + 1}:{self.port}" for i in range(count)]

    def configure(self, engine):
        query = "&".join(f"{k}={v}" for k, v in engine.items())
        machine.post(f"http://127.0.0.1:{self.port}/fake?{query}", {})

    def served(self):
        return json.loads(get(f"http://127.0.0.1:{self.port}/fake"))["requests"]


def drive(port, flags, seconds):
    command = [BUILD / "bench" / "load_driver", f"127.0.0.1:{port}", "--seconds", seconds, *flags]
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=seconds + 150)
    if done.returncode:
        raise RuntimeError(f"load_driver failed: {done.stderr}")
    return json.loads(done.stdout)


def for_slow(name, flags):
    """LiteLLM would not end the streams of as many connections."""
    if name != "litellm":
        return flags
    flags = list(flags)
    at = flags.index("--connections") + 1
    flags[at] = max(1, flags[at] // 20)
    return flags


class Direct:
    """The engine without a router: what latency is added to."""

    name = "direct"

    def __init__(self, port):
        self.port = port

    def cpu(self):
        return {"router": 0.0}

    def memory(self):
        return {"rss": 0.0, "pss": 0.0, "peak": 0.0}

    def reset_peak(self):
        pass


def measure(router, scenario, pool, seconds, streams):
    """One round of one router; a dictionary of figures."""
    flags = for_slow(router.name, scenario.load)
    seconds *= scenario.seconds
    if scenario.kind == "streams":
        flags = stream(12, "--connections", streams, "--requests", streams, "--ramp", streams / 2500, "--timeout", 90)
        seconds = 60
    pool.configure(scenario.engine)
    if scenario.kind != "idle":
        drive(router.port, for_slow(router.name, ["--connections", 32]), 0.2)  # connections, caches, lazy starts
    router.reset_peak()
    memory = router.memory()
    served, cpu, busy, begin = pool.served(), router.cpu(), busy_seconds(), time.monotonic()
    if scenario.kind == "idle":
        time.sleep(seconds)
        report = None
    else:
        report = drive(router.port, flags, seconds)
    took = time.monotonic() - begin
    used = {role: after - cpu[role] for role, after in router.cpu().items()}
    figures = {"report": report, "cpu": used, "took": took, "busy": (busy_seconds() - busy) / took, "before": memory,
               "memory": router.memory(), "rate": flags[flags.index("--rate") + 1] if "--rate" in flags else None}
    if report:
        if pool.served() - served < report["completed"]:
            raise RuntimeError(f"{router.name}: {report['completed']} answers, but the engines gave {pool.served() - served}")
        if report["completed"] == 0:
            raise RuntimeError(f"{router.name}: nothing was answered: {report['failures']}")
    return figures


def run_together(scenarios, routers, pool, options, streams, results):
    """Interleaved rounds of the scenarios whose routers live through the whole run."""
    for key, scenario in scenarios.items():
        names = [n for n in scenario.who if n in routers]
        rounds = options.rounds or scenario.rounds or 3
        for number in range(rounds):
            for name in names:
                if name == "litellm" and number > 0:
                    continue
                say(f"    {key} {number + 1}/{rounds} {name}")
                one_round(routers[name], key, scenario, pool, options, streams, results)


def one_round(router, key, scenario, pool, options, streams, results):
    try:
        figures = measure(router, scenario, pool, options.seconds, streams)
        results[key].setdefault(router.name, []).append(figures)
    except (RuntimeError, subprocess.TimeoutExpired) as why:
        say(f"    FAILED: {key} {router.name}: {why}")
        results[key].setdefault(router.name, [])
        results[key].setdefault("failed", {})[router.name] = str(why).split("\n")[0][:200]
        if isinstance(router, Router):
            router.check()


def run_alone(key, scenario, names, pool, folder, options, streams, results):
    if "direct" in scenario.who:
        one_round(Direct(pool.port), key, scenario, pool, options, streams, results)
    for name in (n for n in scenario.who if n in names):
        say(f"    {key} {name}")
        for number in range(options.rounds or scenario.rounds or 3):
            with contextlib.ExitStack() as stack, tempfile.TemporaryDirectory(dir=folder) as own:
                started, _ = start_all(stack, [name], pool.addresses(scenario.endpoints), own, say)
                if name in started:
                    time.sleep(1.0)  # what a router does at its start is not its idling
                    one_round(started[name], key, scenario, pool, options, streams, results)


def say(text):
    print(text, flush=True)


def options_from(argv):
    parser = argparse.ArgumentParser(prog="bench/run.py system", description=__doc__)
    listed = lambda text: text.split(",")  # noqa: E731
    parser.add_argument("--only", type=listed, default=list(ALL), help=f"routers, with commas between; of {','.join(ALL)}")
    parser.add_argument("--scenarios", type=listed, default=list(SCENARIOS), help=f"of {','.join(SCENARIOS)}")
    parser.add_argument("--rounds", type=int, help="rounds of each scenario (default: 3, fewer of the long ones)")
    parser.add_argument("--seconds", type=float, default=1.2, help="length of a measurement; some take a multiple")
    options = parser.parse_args(argv)
    for given, known in ((options.only, ALL), (options.scenarios, SCENARIOS)):
        for name in given:
            if name not in known:
                parser.error(f"there is no '{name}'; there are: {', '.join(known)}")
    options.partial = set(options.only) != set(ALL) or set(options.scenarios) != set(SCENARIOS) or bool(options.rounds)
    return options


def run(argv=()):
    options = options_from(argv)
    streams = raise_descriptor_limit()
    chosen = {key: SCENARIOS[key] for key in options.scenarios}
    results = {key: {} for key in chosen}
    together = {k: s for k, s in chosen.items() if not s.fresh}
    load = os.getloadavg()[0]
    begin = time.monotonic()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        pool = Pool(stack, folder)
        left_out = {}
        if together:
            wanted = [n for n in options.only if any(n in s.who for s in together.values())]
            with contextlib.ExitStack() as routers_stack:
                routers, left_out = start_all(routers_stack, wanted, pool.addresses(2), folder, say)
                routers["direct"] = Direct(pool.port)
                run_together(together, routers, pool, options, streams, results)
        for key, scenario in chosen.items():
            if scenario.fresh:
                with tempfile.TemporaryDirectory() as own:
                    run_alone(key, scenario, options.only, pool, own, options, streams, results)
    took = time.monotonic() - begin
    return system_pages.page(chosen, results, left_out, options, streams, load, took), not options.partial
