"""The routers that are compared, each started from its package in front of the same pool of fake engines."""
import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import sys
import time

from suite import machine
from suite.gateway import nginx_conf
from suite.machine import ROOT, SLUICE, free_port

PEERS = ROOT / "build" / "peers"
BENCH = ROOT / "bench"
ROUND_ROBIN = """apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- {type: weighted-round-robin-picker, parameters: {weightLabel: weight}}
schedulingProfiles:
- name: default
  plugins:
  - pluginRef: weighted-round-robin-picker
"""
# What upstream's chart installs (config/charts/epplib).
GIE_CONFIG = """apiVersion: inference.networking.x-k8s.io/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: queue-scorer
- type: kv-cache-utilization-scorer
- type: prefix-cache-scorer
- type: metrics-data-source
  parameters: {scheme: http, path: /metrics, insecureSkipVerify: true}
- type: core-metrics-extractor
"""


class Missing(Exception):
    """A peer that is not installed."""


class Router:
    """A started router: its processes and where it listens. `picker` and `proxy` split a pair's cost."""

    def __init__(self, name, folder):
        self.name = name
        self.folder = pathlib.Path(folder) / re.sub(r"\W+", "-", name)
        self.folder.mkdir()
        self.port = free_port()
        self.processes = {}  # role: Popen
        self.not_counted = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self, role, *argv, env=None, count=True):
        log = open(self.folder / f"{role}.log", "wb")
        child = subprocess.Popen([str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                                 env={**os.environ, **(env or {})}, start_new_session=True)
        if count:
            self.processes[role] = child
        else:
            self.not_counted.append(child)

    def write(self, name, text):
        path = self.folder / name
        path.write_text(text)
        return path

    def cpu(self):
        """Seconds of processor time by role, children included."""
        return {role: machine.cpu_seconds(child.pid) for role, child in self.processes.items()}

    def memory(self):
        """MiB: resident, its share of what is shared counted once, and the peak of each process since reset_peak."""
        return machine.memory_of_trees([child.pid for child in self.processes.values()])

    def reset_peak(self):
        machine.reset_peak([child.pid for child in self.processes.values()])

    def check(self):
        for role, child in self.processes.items():
            if child.poll() is not None:
                tail = (self.folder / f"{role}.log").read_text(errors="replace")[-2000:]
                raise RuntimeError(f"{self.name}: {role} ended with {child.returncode}:\n{tail}")

    def await_answer(self, seconds=90):
        body = {"model": "fake", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 1}
        end = time.monotonic() + seconds
        while True:
            self.check()
            try:
                machine.post(self.url + "/v1/chat/completions", body, timeout=20)
                return
            except (OSError, ValueError) as error:
                if time.monotonic() > end:
                    logs = "".join(f"\n-- {p.name}: " + p.read_text(errors="replace")[-1500:] for p in self.folder.glob("*.log"))
                    raise RuntimeError(f"{self.name} does not answer: {error}{logs}") from None
            time.sleep(0.1)

    def stop(self):
        children = [*self.processes.values(), *self.not_counted]
        for child in children:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)  # its own session: children too
        for child in children:
            child.wait()


def program(*candidates):
    for candidate in candidates:
        found = shutil.which(str(candidate), path=os.environ["PATH"] + ":/usr/sbin:/usr/local/sbin")
        if found:
            return found
    raise Missing(f"{pathlib.Path(candidates[0]).name} is missing: bench/peers.sh")


def envoy_binary():
    places = [*PEERS.glob("envoy/lib/*/site-packages/envoy/_bin/envoy"), "envoy"]
    return program(*places)


def endpoint_flags(pool):
    return [part for address in pool for part in ("--endpoint", address)]


def sluice_gateway(router, pool, config=None):
    flags = ["--config-file", router.write("epp.yaml", config)] if config else []
    router.start("router", SLUICE, "gateway", "--port", router.port, *endpoint_flags(pool), *flags)


def start_envoy(router, text):
    path = router.write("envoy.yaml", text)
    router.start("envoy", envoy_binary(), "-c", path, "--concurrency", 1, "--disable-hot-restart", "-l", "error")


def envoy_with_picker(router, form, grpc_port, first_endpoint, tls=False):
    """deploy/envoy/<form>.yaml on this router's port, with one worker and the picker at `grpc_port`. Without `tls` they
    talk in clear text, as a picker beside its Envoy does."""
    text = (ROOT / "deploy" / "envoy" / f"{form}.yaml").read_text().replace("address: 0.0.0.0", "address: 127.0.0.1")
    port = first_endpoint.split(":")[1]
    for old, new in (("port_value: 8081 ", f"port_value: {router.port} "), ("port_value: 19001 ", "port_value: 0 "),
                     ("port_value: 9002 ", f"port_value: {grpc_port} "), ("port_value: 8000 ", f"port_value: {port} "),
                     ("failure_mode_allow: true\n", "failure_mode_allow: false\n")):
        if text.count(old) != 1:
            raise RuntimeError(f"deploy/envoy/{form}.yaml has {old!r} {text.count(old)} times, not once")
        text = text.replace(old, new)
    if not tls:
        text, cut = re.subn(r"      # The picker's own certificate.*?(?=      # A picker that cannot be)", "", text, flags=re.DOTALL)
        assert cut == 1
    machine.wait_for_port(grpc_port)  # Envoy leaves a picker that is not there out for a while
    text = re.sub(r"^admin:\n.*\n", "", text, flags=re.MULTILINE)
    start_envoy(router, text)


def sluice_epp(router, pool, form, tls=False, under=(), flags=()):
    grpc, health, metrics = free_port(), free_port(), free_port()
    router.start("picker", *under, SLUICE, "epp", "--host", "127.0.0.1", "--grpc-port", grpc, "--grpc-health-port", health,
                 "--metrics-port", metrics, "--health-checking", f"--secure-serving={str(tls).lower()}", *endpoint_flags(pool), *flags)
    envoy_with_picker(router, form, grpc, pool[0], tls)


def gie(router, pool, form):
    grpc, health, metrics, api = free_port(), free_port(), free_port(), free_port()
    binary = program(PEERS / "gie" / "epp")
    hosts = [address.split(":")[0] for address in pool]
    router.start("api", sys.executable, "-m", "suite.pods_api", api, pool[0].split(":")[1], *hosts, env={"PYTHONPATH": str(BENCH)}, count=False)
    machine.wait_for(f"http://127.0.0.1:{api}/api")
    kubeconfig = router.write("kubeconfig", f"""apiVersion: v1
kind: Config
clusters: [{{name: c, cluster: {{server: "http://127.0.0.1:{api}"}}}}]
contexts: [{{name: c, context: {{cluster: c, user: u}}}}]
users: [{{name: u, user: {{}}}}]
current-context: c
""")
    router.start("picker", binary, "--pool-name", "fake", "--pool-namespace", "default", "--grpc-port", grpc,
                 "--grpc-health-port", health, "--metrics-port", metrics, "--metrics-endpoint-auth=false", "--health-checking", "--secure-serving=false", "--config-file", router.write("epp.yaml", GIE_CONFIG), "-v", 1, "--zap-encoder",
                 "json", "--tracing=false", env={"KUBECONFIG": str(kubeconfig)})
    envoy_with_picker(router, form, grpc, pool[0])


def floor(router, pool):
    router.start("router", machine.BUILD / "bench" / "bare_relay", router.port, *pool)


def noop(router, pool, form, under=()):
    grpc = free_port()
    router.start("picker", *under, machine.BUILD / "bench" / "noop_picker", grpc, *pool)
    envoy_with_picker(router, form, grpc, pool[0])


def envoy_round_robin(router, pool):
    endpoints = "".join(f"""
          - endpoint: {{ address: {{ socket_address: {{ address: {a.split(":")[0]}, port_value: {a.split(":")[1]} }} }} }}""" for a in pool)
    start_envoy(router, f"""static_resources:
  listeners:
  - address: {{ socket_address: {{ address: 127.0.0.1, port_value: {router.port} }} }}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: inference
          route_config:
            virtual_hosts:
            - name: inference
              domains: ["*"]
              routes: [{{ match: {{ prefix: / }}, route: {{ cluster: engines, timeout: 0s }} }}]
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{ "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }}
  clusters:
  - name: engines
    type: STATIC
    connect_timeout: 5s
    circuit_breakers: {{ thresholds: [{{ max_connections: 40000, max_pending_requests: 40000, max_requests: 40000 }}] }}
    load_assignment:
      cluster_name: engines
      endpoints:
      - lb_endpoints:{endpoints}
""")


def nginx(router, pool):
    conf = nginx_conf(router.folder, router.port, pool)
    router.start("router", program("nginx"), "-c", router.write("nginx.conf", conf))


def haproxy(router, pool):
    servers = "\n".join(f"  server e{i} {address}" for i, address in enumerate(pool))
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2 - 100  # it does not start with more than it has descriptors for
    conf = f"""global
  nbthread 1
  maxconn {most}
  tune.bufsize 16384
defaults
  mode http
  timeout connect 5s
  timeout client 600s
  timeout server 600s
  http-reuse always
  option http-no-delay
frontend f
  bind 127.0.0.1:{router.port}
  default_backend b
backend b
  balance roundrobin
{servers}
"""
    router.start("router", program("haproxy"), "-f", router.write("haproxy.cfg", conf))


def rust_router(router, pool, package, policy):
    binary = program(PEERS / package / "bin" / package)
    urls = [f"http://{address}" for address in pool]
    launch = ["launch"] if package == "sglang-router" else []
    router.start("router", binary, *launch, "--host", "127.0.0.1", "--port", router.port, "--policy", policy,
                 "--prometheus-port", free_port(), "--log-level", "error", "--max-concurrent-requests", 32000,
                 "--worker-urls", *urls)


def litellm(router, pool):
    models = "\n".join(f"- {{model_name: fake, litellm_params: {{model: openai/fake, api_base: 'http://{address}/v1', api_key: none}}}}"
                       for address in pool)
    config = router.write("config.yaml", f"model_list:\n{models}\nrouter_settings: {{routing_strategy: simple-shuffle}}\n")
    router.start("router", program(PEERS / "litellm" / "bin" / "litellm"), "--config", config, "--host", "127.0.0.1",
                 "--port", router.port, env={"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", "DO_NOT_TRACK": "1",
                                             "LITELLM_TELEMETRY": "False",
                                             "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true"})


# name on the command line: (name in the tables, how it is started)
ALL = {
    "floor": ("a relay that knows no HTTP", floor),
    "sluice": ("sluice gateway, round robin", lambda r, p: sluice_gateway(r, p, ROUND_ROBIN)),
    "sluice-prefix": ("sluice gateway, prefix-aware", sluice_gateway),
    "sluice-epp": ("Envoy + sluice epp, full", lambda r, p: sluice_epp(r, p, "full")),
    "sluice-epp-tls": ("Envoy + sluice epp, full, TLS between them", lambda r, p: sluice_epp(r, p, "full", tls=True)),
    "sluice-epp-lean": ("Envoy + sluice epp, lean", lambda r, p: sluice_epp(r, p, "lean")),
    "gie": ("Envoy + upstream's picker, full", lambda r, p: gie(r, p, "full")),
    "gie-lean": ("Envoy + upstream's picker, lean", lambda r, p: gie(r, p, "lean")),
    "noop": ("Envoy + a picker that does nothing, full", lambda r, p: noop(r, p, "full")),
    "noop-lean": ("Envoy + a picker that does nothing, lean", lambda r, p: noop(r, p, "lean")),
    "vllm": ("vllm-router, round robin", lambda r, p: rust_router(r, p, "vllm-router", "round_robin")),
    "vllm-cache": ("vllm-router, cache-aware", lambda r, p: rust_router(r, p, "vllm-router", "cache_aware")),
    "sglang": ("sglang-router, round robin", lambda r, p: rust_router(r, p, "sglang-router", "round_robin")),
    "sglang-cache": ("sglang-router, cache-aware", lambda r, p: rust_router(r, p, "sglang-router", "cache_aware")),
    "litellm": ("LiteLLM proxy", litellm),
    "nginx": ("nginx", nginx),
    "haproxy": ("HAProxy", haproxy),
    "envoy": ("Envoy, round robin", envoy_round_robin),
}


def start_all(stack, names, pool, folder, say):
    """{name: Router} of those that are installed and answer; `say` hears of the others."""
    started, left_out = {}, {}
    for name in names:
        router = Router(name, folder)
        stack.callback(router.stop)
        try:
            ALL[name][1](router, pool)
            started[name] = router
        except (Missing, RuntimeError) as why:
            left_out[name] = str(why)
    for name, router in list(started.items()):
        try:
            router.await_answer()
        except RuntimeError as why:
            router.stop()
            del started[name]
            left_out[name] = str(why)
    for name, why in left_out.items():
        say(f"LEFT OUT: {ALL[name][0]}: {why}")
    return started, left_out
