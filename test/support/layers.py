"""The layer rule and the owner rule over #include lines, as pure functions of parsed tables."""
import dataclasses
import fnmatch


@dataclasses.dataclass(frozen=True)
class Module:
    layer: int
    sideways: tuple  # modules of the same layer that it may include


TOP_OF_PEERS = 4  # modules of this layer never include each other


def parse_layers(text):
    modules = {}
    for line in text.splitlines():
        words = line.split("#")[0].split()
        if words:
            modules[words[1]] = Module(int(words[0]), tuple(words[2:]))
    return modules


def table_problems(modules):
    problems = []
    for name, module in modules.items():
        for other in module.sideways:
            if other not in modules:
                problems.append(f"src/LAYERS: {name} names {other}, which has no line")
            elif modules[other].layer != module.layer:
                problems.append(f"src/LAYERS: {name} names {other}, which is of another layer")
            elif name in modules[other].sideways:
                problems.append(f"src/LAYERS: {name} and {other} name each other")
        if module.layer == TOP_OF_PEERS and module.sideways:
            problems.append(f"src/LAYERS: {name} is of layer {TOP_OF_PEERS}, whose modules never include each other")
    return problems


def include_problem(modules, includer, target):
    """Why the file `includer` (src/net/x.cc) may not include `target` (base/result.h), or None."""
    own, other = includer.split("/")[1], target.split("/")[0]
    if "/" not in target:
        return f'"{target}" is not written from src/ ("{own}/{target}")'
    for name in (own, other):
        if name not in modules:
            return f"module {name} has no line in src/LAYERS"
    if own == other or modules[other].layer < modules[own].layer or other in modules[own].sideways:
        return None
    if modules[other].layer > modules[own].layer:
        return f"{own} (layer {modules[own].layer}) includes {other} (layer {modules[other].layer}), which is above it"
    return f"{own} includes {other} of its own layer, which src/LAYERS does not list"


def parse_owners(text):
    """Lines `header-pattern  file-pattern...`; a file pattern that ends in / means all below. First match decides."""
    owners = []
    for line in text.splitlines():
        words = line.split("#")[0].split()
        if words:
            owners.append((words[0], tuple(words[1:])))
    return owners


def owner_problem(owners, includer, header):
    """Why the file may not include the foreign `header` (nlohmann/json.hpp), or None. `includer` begins with src/."""
    for pattern, places in owners:
        if not fnmatch.fnmatchcase(header, pattern):
            continue
        inside = includer.removeprefix("src/")
        for place in places:
            if fnmatch.fnmatchcase(inside, place + "*" if place.endswith("/") else place):
                return None
        return f"<{header}> belongs to {' '.join(places)} (src/OWNERS_OF_HEADERS)"
    return f"<{header}> has no owner in src/OWNERS_OF_HEADERS"
