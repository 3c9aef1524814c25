"""Tables and goals of bench/suite/system.py: from figures of rounds to the text of docs/perf/system.md."""
import statistics

from suite.contenders import ALL
from suite.machine import spread, table

REFERENCE = "sluice"
FLOOR = """The floor is what nothing below has a part in: for the gateway a relay that passes bytes and knows no HTTP (`bare_relay`: what
the kernel takes), behind Envoy a picker that answers at once and reads nothing (`noop_picker`, with Envoy where the goal is a pair's)."""


def title(name):
    return "engine, asked directly" if name == "direct" else ALL[name][0]


def good(rounds):
    return [r for r in rounds if r["report"]]


def cpu_total(figures):
    return sum(figures["cpu"].values())


def us_a_request(figures):
    return cpu_total(figures) / figures["report"]["completed"] * 1e6


def median(values):
    return statistics.median(list(values))


def parts(rounds, per, digits=1):
    """" = 60.1 envoy + 7.9 picker" for a proxy with a picker, else nothing; `per`: what a round's seconds are divided by."""
    roles = rounds[0]["cpu"]
    if len(roles) < 2:
        return ""
    return " = " + " + ".join(f"{median(r['cpu'][role] / per(r) for r in rounds):.{digits}f} {role}" for role in sorted(roles))


def ratios(results, name, reference, value=us_a_request):
    """The value of `name` over that of `reference`, round by round."""
    return [value(a) / value(b) for a, b in zip(good(results.get(name, [])), good(results.get(reference, [])))]


def names_of(results):
    return [n for n in ("direct", *ALL) if results.get(n)]


def failures(rounds):
    total = {}
    for r in good(rounds):
        for what, count in r["report"]["failures"].items():
            total[what] = total.get(what, 0) + count
    return total


def failed_cell(rounds):
    total = failures(rounds)
    return f"{sum(total.values())}" + (f" ({max(total, key=total.get)[:60]})" if total else "")


def memory_cell(rounds):
    last = rounds[-1]["memory"]
    return f"{last['rss']:.0f} / {last['pss']:.0f}"


def cost_table(results, streamed):
    reference = REFERENCE if results.get(REFERENCE) else next(iter(names_of(results)), None)
    head = ["router", "CPU µs a request", "requests/s a core", f"CPU against {title(reference)}" if reference else "", "requests/s",
            "p50 / p99, ms", "failed", "RSS / PSS, MiB", "machine busy, cores"]
    if streamed:
        head.insert(2, "µs a chunk")
    rows = []
    for name in names_of(results):
        rounds = good(results[name])
        cost = [us_a_request(r) for r in rounds]
        against = ratios(results, name, reference)
        row = [title(name), spread(cost) + parts(rounds, lambda r: r["report"]["completed"] / 1e6), f"{1e6 / median(cost):,.0f}",
               spread(against, 2) if against else "", f"{median(r['report']['completed'] / r['took'] for r in rounds):,.0f}",
               f"{median(r['report']['whole_ms']['p50'] for r in rounds):.1f} / {median(r['report']['whole_ms']['p99'] for r in rounds):.1f}",
               failed_cell(rounds), memory_cell(rounds), f"{median(r['busy'] for r in rounds):.1f}"]
        if streamed:
            row.insert(2, f"{median(cpu_total(r) / r['report']['events'] * 1e6 for r in rounds):.2f}")
        rows.append(row)
    return table(head, rows)


def added(results, name, which, quantile):
    """Added milliseconds against the engine asked directly, or None."""
    direct, rounds = good(results.get("direct", [])), good(results.get(name, []))
    if not direct or not rounds:
        return None
    own = lambda rs: median(r["report"][which][quantile] for r in rs)  # noqa: E731
    return own(rounds) - own(direct)


def added_cell(results, name, which, quantile, digits=3):
    value = added(results, name, which, quantile)
    return "" if value is None or name == "direct" else f"{value:.{digits}f}"


def latency_table(results):
    rows = []
    for name in names_of(results):
        if name == "direct":
            continue
        quantiles = ("p50", "p95", "p99")
        p50s = [r["report"]["whole_ms"]["p50"] - d["report"]["whole_ms"]["p50"]
                for r, d in zip(good(results[name]), good(results.get("direct", [])))]
        rows.append([title(name), *(added_cell(results, name, "whole_ms", q) for q in quantiles), spread(p50s, 3) if p50s else ""])
    return table(["router", "p50 added, ms", "p95", "p99", "p50 of the rounds"], rows)


def rate(figures):
    """Answers a second: of an open loop while it sent, so that its last answers' wait is not in it."""
    report = figures["report"]
    return report["completed"] / (report["sending_s"] if figures["rate"] else report["seconds"])


def wall(figures):
    """What a round's processor time is divided by for cores: at an open loop's rate, that of the requests it answered."""
    return figures["report"]["completed"] / figures["rate"] if figures["rate"] else figures["took"]


def cores(figures):
    return cpu_total(figures) / wall(figures)


def chunk_us(figures):
    return cpu_total(figures) / figures["report"]["events"] * 1e6


def cores_table(results, chunks):
    head = ["router", "cores", "CPU µs a request", "requests/s", "added to the first byte p50 / p95 / p99, ms", "whole p95, ms",
            "failed", "peak RSS, MiB", "machine busy, cores"]
    if chunks:
        head.insert(2, "cores at 100,000 chunks/s")
        head.insert(4, "chunks/s")
    rows = []
    for name in names_of(results):
        rounds = good(results[name])
        row = [title(name), spread([cores(r) for r in rounds], 3) + parts(rounds, wall, 3),
               f"{median(us_a_request(r) for r in rounds):.0f}", f"{median(rate(r) for r in rounds):.0f}",
               " / ".join(filter(None, (added_cell(results, name, "first_ms", q, 2) for q in ("p50", "p95", "p99")))),
               f"{median(r['report']['whole_ms']['p95'] for r in rounds):.1f}", failed_cell(rounds),
               f"{max(r['memory']['peak'] for r in rounds):.0f}", f"{median(r['busy'] for r in rounds):.1f}"]
        if chunks:
            per_chunk = [chunk_us(r) / 10 for r in rounds]
            row.insert(2, "" if name == "direct" else spread(per_chunk, 3))
            row.insert(4, f"{median(r['report']['events'] / r['took'] for r in rounds):,.0f}")
        rows.append(row)
    return table(head, rows)


def idle_table(results):
    rows = [[title(n), spread([cores(r) for r in results[n]], 4) + parts(results[n], wall, 4),
             memory_cell(results[n])] for n in names_of(results)]
    return table(["router", "cores used", "RSS / PSS, MiB"], rows)


def kib_a_stream(figures):
    return (figures["memory"]["peak"] - figures["before"]["rss"]) * 1024 / figures["report"]["in_flight_peak"]


def streams_table(results):
    rows = [[title(n), f"{max(r['report']['in_flight_peak'] for r in results[n]):,}", spread([kib_a_stream(r) for r in results[n]]),
             f"{median(r['before']['rss'] for r in results[n]):.0f} → {median(r['memory']['peak'] for r in results[n]):.0f}",
             failed_cell(results[n]), f"{median(r['busy'] for r in results[n]):.1f}"] for n in names_of(results)]
    return table(["router", "streams at once", "KiB a stream", "MiB, before → peak", "failed", "machine busy, cores"], rows)


def section(key, scenario, results, streams):
    streamed = "--stream" in scenario.load
    if scenario.kind == "cost":
        text = cost_table(results, streamed)
    elif scenario.kind == "latency":
        text = latency_table(results)
    elif scenario.kind == "cores":
        text = cores_table(results, streamed)
    elif scenario.kind == "idle":
        text = idle_table(results)
    else:
        text = streams_table(results)
    heading = scenario.title if scenario.kind != "streams" else f"{streams:,} concurrent streams, a chunk a second each"
    failed = "".join(f"\n\nFailed: {title(n)}: {why}." for n, why in results.get("failed", {}).items())
    return f"## {heading} (`{key}`)\n\n" + (scenario.text + "\n\n" if scenario.text else "") + text + failed


class Goals:
    """The goals of the figures, each with what was measured, where it was."""

    def __init__(self, results):
        self.results, self.rows = results, []

    def rounds(self, key, name):
        return good(self.results.get(key, {}).get(name, []))

    def at_most(self, what, goal, value, digits=2, unit="", floor=None):
        self.add(what, f"≤ {goal}{unit}", value, digits, unit, value is not None and value <= goal, floor)

    def at_least(self, what, goal, value, digits=2, unit="×", floor=None):
        self.add(what, f"≥ {goal}{unit}", value, digits, unit, value is not None and value >= goal, floor)

    def add(self, what, goal, value, digits, unit, met, floor):
        if value is not None:
            bound = "" if floor is None else f"{floor:.{digits}f}{unit}"
            self.rows.append((what, goal, f"{value:.{digits}f}{unit}", "met" if met else "**missed**", bound))

    def of(self, key, name, value):
        rounds = self.rounds(key, name)
        return median(value(r) for r in rounds) if rounds else None

    def cheaper(self, key, ours, theirs):
        """How many times the requests a core of theirs ours serves."""
        values = ratios(self.results.get(key, {}), theirs, ours)
        return median(values) if values else None


def goals(results, streams):
    g = Goals(results)
    load500 = results.get("load500", {})
    for name in ("sluice", "sluice-prefix"):
        g.at_most(f"500 requests/s, {title(name)}: cores", 0.5, g.of("load500", name, cores), floor=g.of("load500", "floor", cores))
        g.at_most(f"500 requests/s, {title(name)}: P95 added", 1.0, added(load500, name, "first_ms", "p95"), 2, " ms",
                  added(load500, "floor", "first_ms", "p95"))
    for key, what, most in (("chunks", "each alone", 0.75), ("bursts", "bursts of 8", 0.15)):
        tenth = lambda r: chunk_us(r) / 10  # noqa: E731
        g.at_most(f"100,000 chunks/s, {what}: cores", most, g.of(key, "sluice-prefix", tenth), floor=g.of(key, "floor", tenth))
    g.at_most("100k-token prompts at 100/s: cores", 2, g.of("prompt100k", "sluice-prefix", cores))
    g.at_most("1M-token prompts at 10/s: cores", 0.5, g.of("prompt1m", "sluice-prefix", cores))
    g.at_most("1M-token prompts at 10/s: peak RSS", 200, g.of("prompt1m", "sluice-prefix", lambda r: r["memory"]["peak"]), 0, " MiB")
    idle = results.get("idle", {}).get("sluice-prefix")
    g.at_most("idle, 100 endpoints: cores", 0.05, median(cores(r) for r in idle) if idle else None, 3)
    for key in ("plain", "prompt4k", "stream", "paced"):
        for peer in ("vllm", "sglang"):
            g.at_least(f"{key}, requests/s a core: round robin against {peer}-router's", 3, g.cheaper(key, "sluice", peer), 1)
            g.at_least(f"{key}, requests/s a core: prefix-aware against {peer}-router's cache-aware", 3,
                       g.cheaper(key, "sluice-prefix", peer + "-cache"), 1)
        g.at_least(f"{key}, requests/s a core: prefix-aware against LiteLLM", 3, g.cheaper(key, "sluice-prefix", "litellm"), 0)
    g.at_least("plain, requests/s a core: prefix-aware against nginx", 0.85, g.cheaper("plain", "sluice-prefix", "nginx"),
               floor=g.cheaper("plain", "floor", "nginx"))
    g.at_least("plain, requests/s a core: round robin against nginx", 1.0, g.cheaper("plain", "sluice", "nginx"),
               floor=g.cheaper("plain", "floor", "nginx"))
    for key in ("stream", "paced"):
        g.at_least(f"{key}, requests/s a core: prefix-aware against nginx", 1.05, g.cheaper(key, "sluice-prefix", "nginx"),
                   floor=g.cheaper(key, "floor", "nginx"))
    for key, what, most, counted, digits in (("plain", "a plain request", 15, "completed", 1),
                                             ("paced", "a streamed chunk, paced, request included", 2.5, "events", 2)):
        cost = lambda r: r["cpu"]["picker"] / r["report"][counted] * 1e6  # noqa: E731
        g.at_most(f"sluice epp, {what}", most, g.of(key, "sluice-epp", cost), digits, " µs", g.of(key, "noop", cost))
    for key in ("plain", "stream", "paced"):
        for form in ("", "-lean"):
            values = ratios(results.get(key, {}), "sluice-epp" + form, "gie" + form)
            least = ratios(results.get(key, {}), "noop" + form, "gie" + form)
            g.at_most(f"{key}, Envoy + sluice epp{form} against Envoy + upstream's picker, same form: CPU", 0.33,
                      median(values) if values else None, 2, "×", median(least) if least else None)
        values = ratios(results.get(key, {}), "sluice-epp-lean", "noop-lean")
        g.at_most(f"{key}, Envoy + sluice epp, lean, against Envoy + a picker that does nothing: CPU", 1.15,
                  median(values) if values else None, 2, "×")
    g.at_most(f"{streams:,} streams: KiB each", 20, g.of("streams10k", "sluice-prefix", kib_a_stream), 1)
    g.at_most(f"{streams:,} streams: dropped", 0, g.of("streams10k", "sluice-prefix", lambda r: sum(r["report"]["failures"].values())), 0)
    return table(["goal", "wanted", "measured", "", "the floor in this run"], g.rows) if g.rows else "None of the chosen scenarios has one."


def page(chosen, results, left_out, options, streams, load, took):
    missing = "".join(f"\n\n**Left out**: {title(n)}: {' '.join(why.split())[-300:]}." for n, why in left_out.items())
    sections = [section(key, scenario, results[key], streams) for key, scenario in chosen.items()]
    part = "\n\nA part of the whole: some routers, scenarios or rounds only." if options.partial else ""
    return "\n\n".join([
        "# Sluice beside its peers\n\nEvery router stands before the same pool: one fake engine process that answers on two addresses. The same "
        "load goes to each in turn (interleaved rounds: ABC ABC ABC), from a driver that only counts. CPU is user and system time "
        "of the router's processes and their children; driver and engine are not in it. Median (least-most) of the rounds; "
        "ratios are of the same round. Prompts: three quarters one of 32 shared texts, the rest new. Envoy, nginx and HAProxy "
        "have one worker; the gateway scrapes both engines each 50 ms, decides, logs a line of scores and a line of access a request, "
        f"and keeps a receipt. LiteLLM: one round, a twentieth of the connections. Machine load at the start {load:.1f}; the run took "
        f"{took:.0f} s." + part + missing,
        "## Goals\n\n" + FLOOR + "\n\n" + goals(results, streams), *sections])
