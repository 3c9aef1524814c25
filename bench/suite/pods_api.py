"""As much of a Kubernetes API server as upstream's picker asks for: discovery, pods and one InferencePool, listed and watched. Each
endpoint address is a pod. (The picker's standalone mode without a pool cannot be started in v1.5.0: it wants --pool-name, and refuses
it beside --endpoint-selector.) `python3 -m suite.pods_api PORT TARGET-PORT ADDRESS...`"""
import http.server
import json
import sys
import threading

POOLS = "inference.networking.k8s.io"


def resources(group_version, name, kind):
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": [
        {"name": name, "singularName": name[:-1], "namespaced": True, "kind": kind, "verbs": ["get", "list", "watch"]}]}


VERSION = {"groupVersion": POOLS + "/v1", "version": "v1"}
DISCOVERY = {
    "/api": {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []},
    "/api/v1": resources("v1", "pods", "Pod"),
    "/apis": {"kind": "APIGroupList", "apiVersion": "v1",
              "groups": [{"name": POOLS, "versions": [VERSION], "preferredVersion": VERSION}]},
    f"/apis/{POOLS}/v1": resources(POOLS + "/v1", "inferencepools", "InferencePool"),
}


def pool(port):
    return {"kind": "InferencePool", "apiVersion": POOLS + "/v1",
            "metadata": {"name": "fake", "namespace": "default", "uid": "p", "resourceVersion": "1"},
            "spec": {"selector": {"matchLabels": {"app": "fake"}}, "targetPorts": [{"number": port}],
                     "endpointPickerRef": {"name": "epp", "port": {"number": 9002}}}}


def pod(index, address):
    return {"kind": "Pod", "apiVersion": "v1",
            "metadata": {"name": f"engine-{index}", "namespace": "default", "uid": f"u{index}", "resourceVersion": "1",
                         "labels": {"app": "fake"}},
            "spec": {"containers": [{"name": "engine", "image": "engine"}]},
            "status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}],
                       "conditions": [{"type": "Ready", "status": "True"}]}}


class Api(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    objects = {}  # by the last part of a list's path

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

    def watch(self, objects, query):
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        if "sendInitialEvents=true" in query:
            for value in objects:
                self.event("ADDED", value)
            self.event("BOOKMARK", {"kind": objects[0]["kind"], "apiVersion": objects[0]["apiVersion"], "metadata": {
                "resourceVersion": "1", "annotations": {"k8s.io/initial-events-end": "true"}}})
        threading.Event().wait()  # nothing ever changes

    def do_GET(self):
        path, _, query = self.path.partition("?")
        objects = self.objects.get(path.rsplit("/", 1)[1])
        if path in DISCOVERY:
            self.answer(200, DISCOVERY[path])
        elif objects and "watch=" in query:
            self.watch(objects, query)
        elif objects:
            self.answer(200, {"kind": objects[0]["kind"] + "List", "apiVersion": objects[0]["apiVersion"],
                              "metadata": {"resourceVersion": "1"}, "items": objects})
        else:
            self.answer(404, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404})

    def do_POST(self):  # events that the picker records
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.answer(201, {})


def main():
    Api.objects = {"pods": [pod(i, address) for i, address in enumerate(sys.argv[3:])], "inferencepools": [pool(int(sys.argv[2]))]}
    server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Api)
    server.daemon_threads = True
    server.serve_forever()


if __name__ == "__main__":
    main()
