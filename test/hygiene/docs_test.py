"""The pages: links lead somewhere, marked commands work as written, generated pages are up to date."""
import os
import re
import subprocess

import pytest

from support import layers, pages, platform, tree

BLOCKS = [block for page in tree.markdown_files() for block in pages.blocks(str(page), tree.read(page))]
COMMAND_TIMEOUT_S = 120


def test_links_resolve():
    tree.assert_none(pages.broken_links())


def test_reference_is_up_to_date(tmp_path):
    run = subprocess.run(["tools/docs.sh", str(tree.BUILD), str(tmp_path)], cwd=tree.ROOT, capture_output=True,
                         text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    written = {p.name for p in tmp_path.iterdir()}
    kept = {p.name for p in (tree.ROOT / "docs" / "reference").glob("*.md")}
    stale = [name for name in sorted(written | kept) if name not in written or name not in kept or
             (tmp_path / name).read_text() != (tree.ROOT / "docs" / "reference" / name).read_text()]
    tree.assert_none(stale, "`make docs` writes docs/reference/")


@pytest.fixture(scope="session")
def started(tmp_path_factory):
    with platform.running(tmp_path_factory.mktemp("platform")) as (url, environment):
        yield url, environment


@pytest.mark.parametrize("block", BLOCKS, ids=lambda b: b.name)
def test_commands_work_as_written(block, request):
    environment = {**os.environ, "PATH": f"{platform.BINARY.parent}:{os.environ['PATH']}"}
    text = block.text
    if block.needs == "platform":
        url, environment = request.getfixturevalue("started")
        text = re.sub(r"http://(127\.0\.0\.1|localhost):8080", url, text)
    steps = pages.console_steps(text) if block.language == "console" else [(text, None)]
    for command, expected in steps:
        run = subprocess.run(["bash", "-euo", "pipefail", "-c", command], cwd=tree.ROOT, env=environment, text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=COMMAND_TIMEOUT_S)
        assert run.returncode == 0, f"{block.name}: {command}\n{run.stdout}"
        if expected is not None:
            assert pages.matches(expected, run.stdout), f"{block.name}: {command}\ngave:\n{run.stdout}"


def test_blocks_are_found():
    text = "a\n<!-- run -->\n```console\n$ echo a \\\n> b\na b\n$ true\n```\n```md\n<!-- run -->\n```\n" \
           "<!-- run: platform -->\n```bash\ncurl x\n```\n"
    first, second = pages.blocks("p.md", text)
    assert (first.line, first.needs, first.language) == (4, "", "console")
    assert pages.console_steps(first.text) == [("echo a \\\nb", "a b"), ("true", None)]
    assert (second.needs, second.text) == ("platform", "curl x")
    with pytest.raises(ValueError):
        pages.blocks("p.md", "<!-- run -->\n\nno block\n")


def test_output_is_compared():
    assert pages.matches("a ... c", "a b\nb c\n")
    assert not pages.matches("a ... c", "a b d")
    assert not pages.matches("a", "a b")


def test_links_and_anchors_are_found():
    text = "# The `first` one, really\n## Same\n## Same\n[a](x.md#y) `[b](no.md)`\n```\n[c](no.md)\n# no\n```\n"
    assert pages.links(text) == ["x.md#y"]
    assert pages.anchors(text) == {"the-first-one-really", "same", "same-1"}


def test_architecture_names_every_module():
    table = set(re.findall(r"^\| (\d) \| \[?(\w+)/", tree.read("ARCHITECTURE.md"), re.MULTILINE))
    modules = layers.parse_layers(tree.read("src/LAYERS"))
    code = {(str(modules[f.parts[1]].layer), f.parts[1]) for f in tree.cpp_files("src/") if f.parts[1] in modules}
    tree.assert_none(sorted(table ^ code), "the module table of ARCHITECTURE.md and the folders of src/ differ")
