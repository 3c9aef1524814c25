"""What a request costs the gateway, stage by stage, in what does not depend on the machine's load: instructions,
allocations and calls of the kernel, counted by callgrind over some hundred requests, one at a time on one connection."""
import collections
import contextlib
import http.client
import json
import pathlib
import re
import subprocess
import tempfile

from suite.gateway import CHAT
from suite.machine import BUILD, SLUICE, free_port, process, table, wait_for

REQUESTS, EVENTS = 200, 200
# Stage: the functions that it consists of, by the beginning of their names; none of them calls another one here.
STAGES = {
    "HTTP heads and bodies, both sides": ["sluice::net::HttpParser::Feed("],
    "the request's body: JSON and what routing needs": ["sluice::parse::ReadRequest("],
    "the pool that serves the model": ["sluice::gateway::InferenceCall::ChoosePool("],
    "the decision": ["sluice::schedule::Scheduler::Decide("],
    "its receipt": ["sluice::schedule::ReceiptRing::Push(", "sluice::schedule::ReceiptRing::Observe("],
    "what policies remember": ["sluice::schedule::Scheduler::Dispatch(", "sluice::schedule::Scheduler::OnFirstChunk(",
                               "sluice::schedule::Scheduler::OnResponseHead(", "sluice::schedule::Scheduler::End("],
    "token counts of the answer": ["sluice::parse::UsageReader::Append("],
    "metrics": ["sluice::serving::RouterMetrics::"],
    "two log lines": ["sluice::serving::LogScores(", "sluice::serving::LogAccess("],
}
KERNEL = {"recv": "recv", "send": "send", "sendmsg": "sendmsg", "epoll_wait": "epoll_wait", "write": "write"}


def profile(path):
    """Of a callgrind file: inclusive instructions and calls by function, and all instructions, by (library, function)."""
    names, cost, calls, own = {}, collections.Counter(), collections.Counter(), collections.Counter()
    library, function, callee = "", "", None

    def named(text, kind="function"):
        number, _, name = text.partition(" ")
        return names.setdefault((kind, number), name) if name else names[kind, number]

    for line in path.read_text(errors="replace").splitlines():
        if line.startswith("fn="):
            function = named(line[3:])
        elif line.startswith("ob="):
            library = pathlib.Path(named(line[3:], "library")).name
        elif line.startswith("cob="):
            named(line[4:], "library")
        elif line.startswith("cfn="):
            callee = named(line[4:])
        elif line.startswith("calls="):
            calls[callee] += int(line[6:].split()[0])
        elif re.match(r"[+\-*\d]", line):
            instructions = int(line.split()[-1])
            if callee is None:
                own[library, function] += instructions
                cost[function] += instructions
            else:  # what the call before took in all
                if callee != function:
                    cost[function] += instructions
                callee = None
    return cost, calls, own


def ask(connection, number, stream):
    body = json.dumps({**CHAT, "stream": stream}).replace("NUMBER", str(number))
    connection.request("POST", "/v1/chat/completions", body, {"content-type": "application/json"})
    answer = connection.getresponse()
    assert answer.status == 200 and answer.read()


def count(stream, events):
    """The profile of REQUESTS requests."""
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        engines = [free_port(), free_port()]
        for port in engines:
            stack.enter_context(process(BUILD / "bench" / "fake_engine", port, events, 0))
        port, out = free_port(), folder / "callgrind.out"
        endpoints = [part for p in engines for part in ("--endpoint", f"127.0.0.1:{p}")]
        with process("valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={out}", SLUICE, "gateway",
                     "--port", port, *endpoints, "--refresh-metrics-interval-ms", 60_000) as gateway:
            wait_for(f"http://127.0.0.1:{port}/ready", seconds=120)
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            for i in range(50):
                ask(connection, i, stream)
            subprocess.run(["callgrind_control", "-i", "on", str(gateway.pid)], check=True, capture_output=True, timeout=60)
            for i in range(REQUESTS):
                ask(connection, 1000 + i, stream)
            subprocess.run(["callgrind_control", "-i", "off", str(gateway.pid)], check=True, capture_output=True, timeout=60)
        return profile(out)


def figures(stream, events):
    cost, calls, own = count(stream, events)
    total = own.total()

    def per_request(counter, starts):
        found = sum(n for name, n in counter.items() if name.startswith(tuple(starts)) and "clone .resume" not in name)
        return found / REQUESTS

    rows = {stage: per_request(cost, starts) for stage, starts in STAGES.items()}
    rows["all the rest: event loop, coroutines, buffers, headers"] = total / REQUESTS - sum(rows.values())
    rows["all"] = total / REQUESTS
    kernel = {label: sum(n for name, n in calls.items() if name.removeprefix("__libc_").split("@")[0] == call) / REQUESTS
              for label, call in KERNEL.items()}
    return rows, per_request(calls, ["malloc"]), kernel


def run():
    plain, plain_allocations, plain_kernel = figures(False, 0)
    streamed, stream_allocations, stream_kernel = figures(True, EVENTS)
    rows = [[stage, f"{plain[stage]:,.0f}", f"{100 * plain[stage] / plain['all']:.0f} %", f"{streamed[stage]:,.0f}",
             f"{100 * streamed[stage] / streamed['all']:.0f} %"] for stage in plain]
    calls = [["allocations", f"{plain_allocations:.0f}", f"{stream_allocations:.0f}"]]
    calls += [[f"`{name}`", f"{plain_kernel[name]:.2f}", f"{stream_kernel[name]:.2f}"] for name in KERNEL]
    return "\n".join([
        "# What a request costs",
        "",
        f"Counted by callgrind: {REQUESTS} chats of about 60 words, one at a time, default policy, two endpoints; answers plain, "
        f"and as {EVENTS} events as fast as they come. No scrapes meanwhile.",
        "",
        "## Instructions in the gateway's own process",
        "",
        table(["stage", "plain", "", "streamed", ""], rows),
        "",
        "## Allocations and calls of the kernel, a request",
        "",
        table(["", "plain", "streamed"], calls),
        "",
        "The floor of a relay is four calls a request, one `recv` and one `send` on each side, and one pair a piece of a "
        "streamed answer that arrives alone; the kernel's loopback TCP behind them is more than half of the processor time of "
        "a plain request (docs/perf/gateway.md).",
    ])
