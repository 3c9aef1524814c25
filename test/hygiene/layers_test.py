"""Who may include whom: src/LAYERS for our modules, src/OWNERS_OF_HEADERS for everything else."""
import pytest

from support import layers, tree

MODULES = layers.parse_layers(tree.read("src/LAYERS"))
OWNERS = layers.parse_owners(tree.read("src/OWNERS_OF_HEADERS"))


def test_the_table_is_sound():
    tree.assert_none(layers.table_problems(MODULES))


def test_every_module_has_a_layer():
    folders = {f.parts[1] for f in tree.cpp_files("src/")}
    tree.assert_none(sorted(folders - set(MODULES)), "not in src/LAYERS")


def test_includes_point_down():
    problems = []
    for file in tree.cpp_files("src/"):
        for number, target, quoted in tree.includes(file):
            if not quoted:
                continue
            problem = layers.include_problem(MODULES, str(file), target)
            if problem is None and not (tree.ROOT / "src" / target).is_file():
                problem = f'"{target}" does not exist'
            if problem:
                problems.append(f"{file}:{number}: {problem}")
    tree.assert_none(problems)


def test_foreign_headers_stay_with_their_owner():
    problems = []
    for file in tree.cpp_files("src/"):
        for number, header, quoted in tree.includes(file):
            if quoted or ("." not in header and "/" not in header):  # ours, or the C++ standard library's
                continue
            problem = layers.owner_problem(OWNERS, str(file), header)
            if problem:
                problems.append(f"{file}:{number}: {problem}")
    tree.assert_none(problems)


TABLE = layers.parse_layers("0 base\n1 codec\n1 net codec\n4 gateway\n4 worker # comment\n")


@pytest.mark.parametrize("includer, target, said", [
    ("src/net/a.cc", "base/x.h", None),
    ("src/net/a.cc", "net/x.h", None),
    ("src/net/a.cc", "codec/json/x.h", None),
    ("src/codec/a.cc", "net/x.h", "does not list"),
    ("src/base/a.cc", "net/x.h", "above it"),
    ("src/gateway/a.cc", "worker/x.h", "does not list"),
    ("src/gateway/a.cc", "relay.h", "not written from src/"),
    ("src/gateway/a.cc", "unheard/of.h", "no line"),
])
def test_the_rule_itself(includer, target, said):
    problem = layers.include_problem(TABLE, includer, target)
    assert (problem is None) if said is None else said in problem


def test_the_table_check_itself():
    assert any("never include each other" in p for p in layers.table_problems(
        layers.parse_layers("4 gateway worker\n4 worker\n")))
    assert any("name each other" in p for p in layers.table_problems(layers.parse_layers("3 a b\n3 b a\n")))
    assert any("another layer" in p for p in layers.table_problems(layers.parse_layers("2 a\n3 b a\n")))


def test_the_owner_rule_itself():
    owners = layers.parse_owners("a/*.h  net/ x/only.cc\ngtest/*  *_test.cc\n")
    assert layers.owner_problem(owners, "src/net/deep/a.cc", "a/b.h") is None
    assert layers.owner_problem(owners, "src/x/only.cc", "a/b.h") is None
    assert "belongs to" in layers.owner_problem(owners, "src/x/other.cc", "a/b.h")
    assert "belongs to" in layers.owner_problem(owners, "src/x/a.cc", "gtest/gtest.h")
    assert "no owner" in layers.owner_problem(owners, "src/x/a.cc", "boost/asio.hpp")
