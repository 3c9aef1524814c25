"""Workers that publish KV events, gateways that read them, and what a gateway says of caches."""
import json
import socket
import urllib.request

from support import deadline

LABELS = ("llm-d.ai/kv-events-port", "llm-d.ai/kv-events-replay-port")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def events_config(serving_port, model, events_port, replay_port):
    """Arguments of a worker; the topic names its endpoint."""
    config = {"enable_kv_cache_events": True, "endpoint": f"tcp://127.0.0.1:{events_port}", "bind": True,
              "topic": f"kv@127.0.0.1:{serving_port}@{model}"}
    if replay_port:
        config["replay_endpoint"] = f"tcp://127.0.0.1:{replay_port}"
    return ["--kv-events-config", json.dumps(config)]


def endpoints_file(path, entries):
    """`entries`: (serving port, events port, replay port or 0)."""
    lines = ["endpoints:"]
    for serving, events, replay in entries:
        lines += [f"- name: w{serving}", "  address: 127.0.0.1", f'  port: "{serving}"', "  labels:",
                  f'    {LABELS[0]}: "{events}"']
        if replay:
            lines.append(f'    {LABELS[1]}: "{replay}"')
    path.write_text("\n".join(lines) + "\n")
    return path


def picker_config(path, block_size=16, parameters="", scorer="prefix-cache-scorer"):
    path.write_text(f"""apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: precise-prefix-cache-producer
  parameters:
    tokenProcessorConfig: {{blockSizeTokens: {block_size}, hashAlgorithm: xxh64}}
{parameters}
- type: {scorer}
  parameters: {{prefixMatchInfoProducerName: precise-prefix-cache-producer}}
- type: max-score-picker
schedulingProfiles:
- name: default
  plugins:
  - pluginRef: {scorer}
    weight: 2
  - pluginRef: max-score-picker
""")
    return path


def post(url, path, body, timeout=120):
    request = urllib.request.Request(url + path, data=json.dumps(body).encode(), method="POST",
                                     headers={"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        text = answer.read()
        return (json.loads(text) if text else None), answer.headers


def caches(gateway):
    """What the gateway says of each endpoint's cache, by address."""
    found = {}
    for pool in gateway.get_json("/debug/cache")["pools"]:
        for index in pool["indexes"]:
            found |= {e["endpoint"]: e for e in index["endpoints"]}
    return found


def receipt(gateway, headers):
    return gateway.get_json("/debug/decisions/" + headers["x-request-id"])


def until(gateway, condition, what, seconds=30):
    """Until `condition(caches by address)`."""
    deadline.until(lambda: condition(caches(gateway)), lambda: f"{what}:\n{gateway.get('/debug/cache')}\n{gateway.said()}",
                   seconds)
