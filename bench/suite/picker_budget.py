"""What a request costs the endpoint picker behind a real Envoy, stage by stage, beside a picker that does nothing on the
same transport: instructions, allocations and calls of the kernel, counted by callgrind."""
import contextlib
import pathlib
import re
import subprocess
import tempfile

from suite import contenders
from suite.budget import KERNEL, profile
from suite.machine import BUILD, free_port, process, table, wait_for
from suite.system import METRICS, drive

TOKENS = 100
# Name: (what it is, form of Envoy's configuration, requests, flags of load_driver, flags of fake_engine)
LOADS = {
    "alone": ("plain, one at a time, full form", "full", 400, ["--connections", 1], [1, 0]),
    "many": ("plain, 64 at once, full form", "full", 3000, ["--connections", 64], [1, 0]),
    "lean": ("plain, 64 at once, lean form", "lean", 3000, ["--connections", 64], [1, 0]),
    "paced": (f"{TOKENS} events 10 ms apart, 16 at once, full form", "full", 160,
              ["--connections", 16, "--stream", "--tokens", TOKENS], [TOKENS, 10]),
}
# Whole functions, with all that they call; none of them calls another one here.
STAGES = {
    "reading messages (protobuf)": ["sluice::extproc::ReadProcessingRequest("],
    "writing messages (protobuf)": ["sluice::extproc::WriteHeaders(", "sluice::extproc::WriteBody("],
    "the request's body: JSON and what routing needs": ["sluice::parse::ReadRequest("],
    "the decision": ["sluice::schedule::Scheduler::Decide("],
    "its receipt": ["sluice::schedule::ReceiptRing::Push(", "sluice::schedule::ReceiptRing::Observe("],
    "what policies remember": ["sluice::schedule::Scheduler::Dispatch(", "sluice::schedule::Scheduler::OnFirstChunk(",
                               "sluice::schedule::Scheduler::OnResponseHead(", "sluice::schedule::Scheduler::End("],
    "token counts of the answer": ["sluice::parse::UsageReader::Append(", "sluice::parse::UsageReader::Find("],
    "metrics": ["sluice::serving::RouterMetrics::"],
    "two log lines": ["sluice::serving::LogScores(", "sluice::serving::LogAccess("],
}
# Functions by themselves, without what they call.
LAYERS = {
    "TLS": lambda library, _: library.startswith(("libssl", "libcrypto")),
    "HPACK": lambda _, name: name.startswith("nghttp2_hd_"),
    "HTTP/2 frames and streams": lambda library, name: library.startswith("libnghttp2") and not name.startswith("nghttp2_hd_"),
}


def count(picker, load):
    """The profile of a load's requests."""
    _, form, requests, flags, engine = LOADS[load]
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        port, out = free_port(), folder / "callgrind.out"
        (folder / "metrics.txt").write_text(METRICS)
        stack.enter_context(process(BUILD / "bench" / "fake_engine", port, *engine, folder / "metrics.txt"))
        wait_for(f"http://127.0.0.1:{port}/health")
        router = contenders.Router(picker, folder)
        stack.callback(router.stop)
        under = ("valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={out}")
        pool = [f"127.0.0.1:{port}", f"127.0.0.2:{port}"]
        if picker == "noop":
            contenders.noop(router, pool, form, under)
        else:
            contenders.sluice_epp(router, pool, form, under, ("--refresh-metrics-interval", "60s"))
        router.await_answer()
        drive(router.port, [*flags, "--requests", requests // 4, "--timeout", 120], 300)
        child = router.processes["picker"]
        control = lambda *argv: subprocess.run(["callgrind_control", *argv, str(child.pid)], check=True, capture_output=True, timeout=60)  # noqa: E731
        control("-i", "on")
        report = drive(router.port, [*flags, "--requests", requests, "--timeout", 120], 300)
        control("-i", "off")
        if report["completed"] != requests:
            raise RuntimeError(f"{picker}, {load}: {report}")
        child.terminate()
        child.wait(timeout=60)
        return profile(out)


def figures(picker, load):
    cost, calls, own = count(picker, load)
    requests = LOADS[load][2]

    def sum_of(counter, starts):
        return sum(n for name, n in counter.items() if name.startswith(tuple(starts))) / requests

    rows = {stage: sum_of(cost, starts) for stage, starts in STAGES.items()}
    for layer, belongs in LAYERS.items():
        rows[layer] = sum(n for key, n in own.items() if belongs(*key)) / requests
    all_of_them = own.total() / requests
    rows["the rest: protocol, streams, buffers, loop, allocator"] = all_of_them - sum(rows.values())
    rows["all"] = all_of_them
    kernel = {label: sum(n for name, n in calls.items() if re.sub(r"^__libc_|@.*", "", name) == call) / requests
              for label, call in KERNEL.items()}
    extra = {"allocations": sum_of(calls, ["malloc", "calloc", "realloc"]),
             "messages in": sum_of(calls, ["sluice::extproc::ReadProcessingRequest("])}
    return rows, {**extra, **{f"`{name}`": n for name, n in kernel.items()}}


def run():
    pages = ["# What a request costs the picker",
             "",
             "Counted by callgrind behind a real Envoy with one worker; two endpoints, default policy, TLS as by default, no scrapes meanwhile. "
             "Beside it a picker that does nothing (`bench/noop_picker.cc`) on the same transport: the floor. Callgrind slows the "
             "picker down some fifty times, so with 64 at once more messages come in one piece than would otherwise."]
    for load, (title, _, requests, *_) in LOADS.items():
        ours, our_counts = figures("sluice", load)
        floor, floor_counts = figures("noop", load)
        pages += ["", f"## {title[0].upper()}{title[1:]}: {requests} requests", "",
                  table(["instructions a request", "sluice epp", "", "does nothing"],
                        [[stage, f"{n:,.0f}", f"{100 * n / ours['all']:.0f} %", f"{floor[stage]:,.0f}"] for stage, n in ours.items()]),
                  "",
                  table(["a request", "sluice epp", "does nothing"],
                        [[name, f"{n:.2f}", f"{floor_counts[name]:.2f}"] for name, n in our_counts.items()])]
        print(f"    {load}", flush=True)
    return "\n".join(pages)
