"""As much of a Kubernetes API server as upstream's picker asks for: discovery, and pods that are listed and watched. Each endpoint
address is a pod. `python3 -m suite.pods_api PORT ADDRESS...`"""
import http.server
import json
import sys
import threading

KINDS = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "v1", "resources": [
    {"name": "pods", "singularName": "pod", "namespaced": True, "kind": "Pod", "verbs": ["get", "list", "watch"]}]}
NOTHING = {"kind": "APIGroupList", "apiVersion": "v1", "groups": []}
VERSIONS = {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}


def pod(index, address):
    return {"kind": "Pod", "apiVersion": "v1",
            "metadata": {"name": f"engine-{index}", "namespace": "default", "uid": f"u{index}", "resourceVersion": "1",
                         "labels": {"app": "fake"}},
            "spec": {"containers": [{"name": "engine", "image": "engine"}]},
            "status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}],
                       "conditions": [{"type": "Ready", "status": "True"}]}}


class Api(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    pods = []

    def log_message(self, *_):
        pass

    def answer(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def event(self, kind, value):
        line = json.dumps({"type": kind, "object": value}).encode() + b"\n"
        self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
        self.wfile.flush()

    def watch(self, query):
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        if "sendInitialEvents=true" in query:
            for value in self.pods:
                self.event("ADDED", value)
            self.event("BOOKMARK", {"kind": "Pod", "apiVersion": "v1", "metadata": {
                "resourceVersion": "1", "annotations": {"k8s.io/initial-events-end": "true"}}})
        threading.Event().wait()  # nothing ever changes

    def do_GET(self):
        path, _, query = self.path.partition("?")
        if path == "/api":
            self.answer(200, VERSIONS)
        elif path == "/apis":
            self.answer(200, NOTHING)
        elif path == "/api/v1":
            self.answer(200, KINDS)
        elif path.endswith("/pods") and "watch=" in query:
            self.watch(query)
        elif path.endswith("/pods"):
            self.answer(200, {"kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": self.pods})
        else:
            self.answer(404, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404})

    def do_POST(self):  # events that the picker records
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.answer(201, {})


def main():
    Api.pods = [pod(i, address) for i, address in enumerate(sys.argv[2:])]
    server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Api)
    server.daemon_threads = True
    server.serve_forever()


if __name__ == "__main__":
    main()
