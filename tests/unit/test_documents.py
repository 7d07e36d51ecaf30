"""The documents: every link leads somewhere, what is generated is up to date, and what they list is what there is."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
import yaml

import spatial_client
from service.cli import spatial
from service.settings import Settings
from spatial.v1.errors_pb2 import ErrorReason
from tests.documents import PAGES, Block, anchors, blocks, commands, links, name, surface
from tests.monitoring import TABLE, check_expressions
from tests.processes import ROOT

# Fenced blocks are of these languages. The first three are run by tests/e2e/test_documents.py; `text` is shown alone.
LANGUAGES = {"console", "sh", "python", "sql", "yaml", "json", "promql", "ini", "text"}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_leads_to_a_file_and_a_heading_that_are_there(page: Path) -> None:
    assert [link for link in links(page) if not _leads_somewhere(page, link)] == []


def _leads_somewhere(page: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = Path(os.path.normpath(page.parent / path)) if path else page
    return target.exists() and (not anchor or anchor in anchors(target))


def test_the_index_has_every_page_once() -> None:
    listed = [link for link in links(ROOT / "docs/README.md") if "#" not in link]
    expected = [str(page.relative_to(ROOT / "docs")) for page in PAGES if page.name != "README.md"]
    assert sorted(listed) == sorted(expected)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_block_says_its_language_and_data_can_be_parsed(page: Path) -> None:
    found = blocks(page)
    assert page.read_text().count("\n```") == 2 * len(found)
    assert {block.language for block in found} <= LANGUAGES
    for block in found:
        _parse(block)


def _parse(block: Block) -> None:
    if block.language == "yaml":
        assert list(yaml.safe_load_all(block.text))
    if block.language == "json":
        json.loads(block.text)
    if block.language == "python":
        compile(block.text, "a document", "exec")
    if block.language == "sh":
        list(commands(block.text))


def test_queries_of_prometheus_can_be_parsed(tool: Callable[[str], str], tmp_path: Path) -> None:
    found = [(page, block) for page in PAGES for block in blocks(page) if block.language == "promql"]
    queries = {f"{name(page)}:{block.line}": block.text for page, block in found}
    assert queries
    assert check_expressions(tool("promtool"), tmp_path, queries) == ""


def test_the_reference_is_what_the_protos_say(tmp_path: Path) -> None:
    subprocess.run([sys.executable, ROOT / "scripts/api-reference", tmp_path / "api.md"], check=True)
    assert (tmp_path / "api.md").read_text() == (ROOT / "docs/api.md").read_text()


def test_every_reason_of_an_error_is_named_by_an_rpc_or_at_the_head_of_a_service() -> None:
    text = (ROOT / "docs/api.md").read_text()
    services = text.partition("## Messages and enums")[0]
    published = [name.lower() for name in ErrorReason.DESCRIPTOR.values_by_name if name != "ERROR_REASON_UNSPECIFIED"]
    reasons = [name.removeprefix("error_reason_") for name in published]
    assert [reason for reason in reasons if f'<a id="{reason}">' not in text] == []
    assert [reason for reason in reasons if f"(#{reason})" not in services] == []


PUBLIC = {
    "spatial_client": set(spatial_client.__all__),
    "command": set(spatial.list_commands(click.Context(spatial))),
    "settings": {f"SPATIAL_{field.upper()}" for field in Settings.model_fields},
    "metrics": set(TABLE),
}


@pytest.mark.parametrize("kind", PUBLIC)
def test_what_is_listed_as_public_is_what_there_is(kind: str) -> None:
    assert surface(kind) == PUBLIC[kind]


def test_the_go_and_node_examples_are_pinned_and_name_no_registry() -> None:
    lock = json.loads((ROOT / "examples/node/package-lock.json").read_text())
    packages = {path: package for path, package in lock["packages"].items() if path}
    assert packages
    assert [path for path, package in packages.items() if "resolved" in package or "integrity" not in package] == []
    sums = (ROOT / "examples/go/go.sum").read_text()
    required = [line.split() for line in (ROOT / "examples/go/go.mod").read_text().splitlines() if " v" in line]
    assert [words for words in required if f"{words[0].strip()} {words[1]} h1:" not in sums] == []
