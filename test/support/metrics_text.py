"""A strict reader of Prometheus' text format: whatever a scraper might stumble over is an error here."""
import math
import re

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_HELP = re.compile(rf"# HELP ({_NAME}) (.*)")
_TYPE = re.compile(rf"# TYPE ({_NAME}) (counter|gauge|histogram|summary|untyped)")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"(,|$)')
_SAMPLE = re.compile(rf"({_NAME})(?:\{{(.*)\}})? (\S+)( -?\d+)?")
_VALUE = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?|[+-]Inf|NaN")


def read(text):
    """{(name, ((label, value), ...)): number}. Raises ValueError with the line that is wrong."""
    assert text.endswith("\n"), "the last line has no end"
    samples, types, family, closed = {}, {}, None, set()
    for number, line in enumerate(text.splitlines(), 1):
        def wrong(why):
            return ValueError(f"line {number}: {why}: {line}")
        if line.startswith("#"):
            found = _TYPE.fullmatch(line) or _HELP.fullmatch(line)
            if not found:
                raise wrong("neither HELP nor TYPE")
            if found.group(1) != family:
                if found.group(1) in closed:
                    raise wrong("the metric's lines are not together")
                family = found.group(1)
                closed.add(family)
            if line.startswith("# TYPE"):
                if family in types:
                    raise wrong("a second TYPE")
                types[family] = found.group(2)
            continue
        found = _SAMPLE.fullmatch(line)
        if not found or not _VALUE.fullmatch(found.group(3)):
            raise wrong("not a sample")
        name, value = found.group(1), float(found.group(3))
        suffixes = ("_bucket", "_sum", "_count") if types.get(family) == "histogram" else ("",)
        if family is None or family not in types or name not in {family + s for s in suffixes}:
            raise wrong(f"does not belong to {family}, a {types.get(family)}")
        key = (name, _labels(found.group(2) or "", wrong))
        if key in samples:
            raise wrong("the series is there twice")
        if types[family] in ("counter", "histogram") and not value >= 0 and not name.endswith("_sum"):
            raise wrong("a counter below zero")
        samples[key] = value
    for name, kind in types.items():
        if kind == "histogram":
            _check_histogram(name, samples)
    return samples


def _labels(text, wrong):
    labels, at = [], 0
    while at < len(text):
        found = _LABEL.match(text, at)
        if not found:
            raise wrong("bad labels")
        labels.append((found.group(1), found.group(2)))
        at = found.end()
    if len({name for name, _ in labels}) != len(labels):
        raise wrong("a label is there twice")
    return tuple(labels)


def _check_histogram(name, samples):
    series = {}
    for (sample, labels), value in samples.items():
        if sample == name + "_bucket":
            le = dict(labels).get("le")
            rest = tuple(l for l in labels if l[0] != "le")
            series.setdefault(rest, []).append((float(le.replace("Inf", "inf")), value))
    for labels, buckets in series.items():
        bounds, counts = zip(*buckets)
        if list(bounds) != sorted(set(bounds)) or bounds[-1] != math.inf:
            raise ValueError(f"{name}{labels}: buckets are not in order up to +Inf: {bounds}")
        if list(counts) != sorted(counts) or counts[-1] != samples.get((name + "_count", labels)):
            raise ValueError(f"{name}{labels}: buckets do not add up: {counts}")
        if (name + "_sum", labels) not in samples:
            raise ValueError(f"{name}{labels}: no sum")
