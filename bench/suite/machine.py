"""Processes, processor time and tables: what every benchmark here needs. Standard library only."""
import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import statistics
import subprocess
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "release"
SLUICE = BUILD / "bin" / "sluice"
MODEL = ROOT / "build" / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"
TICK = os.sysconf("SC_CLK_TCK")


def cpu_model():
    text = pathlib.Path("/proc/cpuinfo").read_text()
    name = re.search(r"model name\s*: (.*)", text).group(1)
    extras = [flag for flag in ("amx_tile", "avx512_vnni", "avx512f", "avx2") if re.search(rf"\b{flag}\b", text)]
    return f"{name}, {os.cpu_count()} cores, {extras[0] if extras else 'no AVX2'}"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def cpu_seconds(pid):
    """User and system time of a process and its living descendants."""
    total = 0.0
    for path in tree([pid]):
        with contextlib.suppress(OSError):
            fields = (path / "stat").read_text().rsplit(")", 1)[1].split()
            total += (int(fields[11]) + int(fields[12])) / TICK
    return total


def tree(pids):
    """Folders in /proc of these processes and all that descend from them."""
    parents = {}
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents.setdefault(int(stat.read_text().rsplit(")", 1)[1].split()[1]), []).append(int(stat.parent.name))
    found = list(pids)
    for pid in found:  # grows meanwhile
        found += parents.get(pid, [])
    return [pathlib.Path(f"/proc/{pid}") for pid in found]


def memory_of_trees(pids):
    """MiB of these processes and their descendants: rss, pss, peak (the sum of each one's peak)."""
    total = dict.fromkeys(("rss", "pss", "peak"), 0.0)
    for path in tree(pids):
        for file, pattern, key in (("status", r"VmRSS:\s+(\d+)", "rss"), ("status", r"VmHWM:\s+(\d+)", "peak"),
                                   ("smaps_rollup", r"Pss:\s+(\d+)", "pss")):
            with contextlib.suppress(OSError):
                total[key] += int(re.search(pattern, (path / file).read_text()).group(1)) / 1024
    return total


def reset_peak(pids):
    for path in tree(pids):
        with contextlib.suppress(OSError):
            (path / "clear_refs").write_text("5")


def memory_mib(pid):
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", text).group(1)) / 1024


@contextlib.contextmanager
def process(*argv, log=None, env=None):
    """A process that is ended with the block; its output goes to `log`, or nowhere."""
    out = open(log, "wb") if log else subprocess.DEVNULL
    child = subprocess.Popen([str(a) for a in argv], stdout=out, stderr=subprocess.STDOUT, env={**os.environ, **(env or {})})
    try:
        yield child
    finally:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(timeout=20)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def get(url, timeout=5):
    with urllib.request.urlopen(url, timeout=timeout) as answer:
        return answer.read().decode()


def post(url, body, timeout=300):
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        return json.loads(answer.read())


def wait_for(url, seconds=60):
    end = time.monotonic() + seconds
    while True:
        with contextlib.suppress(OSError):
            get(url)
            return
        if time.monotonic() > end:
            raise RuntimeError(f"{url} did not answer within {seconds} s")
        time.sleep(0.02)


def wait_for_port(port, seconds=30):
    end = time.monotonic() + seconds
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        if time.monotonic() > end:
            raise RuntimeError(f"nobody listens on port {port} after {seconds} s")
        time.sleep(0.02)


def bench(url, *flags):
    """`sluice bench` with JSON output; its report as a dictionary."""
    done = subprocess.run([str(SLUICE), "bench", "--url", url, "-o", "json", *map(str, flags)], capture_output=True, text=True)
    if not done.stdout:
        raise RuntimeError(f"sluice bench failed: {done.stderr}")
    return json.loads(done.stdout)


def wrk(url, body, seconds, connections):
    """Requests done by wrk, which counts a streamed answer as one, and latency quantiles; fails when any was not 2xx. Every
    request has another number where the body says NUMBER, so that no two prompts are the same."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        before, after = json.dumps(body).split("NUMBER")
        script.write("wrk.method='POST'\nwrk.headers['content-type']='application/json'\nlocal n=0\n"
                     f"request=function() n=n+1; return wrk.format(nil,nil,nil,'{before}'..n..'{after}') end\n")
        script.flush()
        text = subprocess.run(["wrk", "-t1", f"-c{connections}", f"-d{seconds}", "--timeout", "60", "--latency", "-s", script.name,
                               url], capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in text or "Socket errors" in text:
        raise RuntimeError(text)
    latency = {p: to_ms(v) for p, v in re.findall(r"\s+(50|99)%\s+([\d.]+\w+)", text)}
    return int(re.search(r"(\d+) requests in", text).group(1)), latency


def to_ms(text):
    value, unit = re.match(r"([\d.]+)(\w+)", text).groups()
    return float(value) * {"us": 1e-3, "ms": 1, "s": 1e3, "m": 6e4}[unit]


def spread(values, digits=1):
    """"median (least-most)" of some rounds."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(str(c) for c in row) + " |" for row in rows])
