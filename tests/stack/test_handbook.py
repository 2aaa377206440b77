"""The handbook: it builds as a site without a warning, and leads from every alert to what to do about it."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main
import yaml

from logproc.alerts.alert import CAUSES, KINDS
from logproc.cli import app
from logproc.settings import Settings
from tests.stack.compose import BIN, ROOT

DOCS = ROOT / "docs"


def anchors(page: str) -> set[str]:
    """What can be linked to, as GitHub and the site name it."""
    headings = re.findall(r"^#+ (.+)$", (ROOT / page).read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [str(BIN / "mkdocs"), "build", "--strict", "--config-file", str(ROOT / "mkdocs.yml")]
    done = subprocess.run([*command, "--site-dir", str(folder)], capture_output=True, text=True, check=False)
    told = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith(("WARNING", "ERROR"))]
    assert not told, "\n".join(told)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_site_builds_without_a_warning_and_with_every_page(site: Path) -> None:
    pages = {path.stem for path in DOCS.glob("*.md")} - {"index"}

    assert {path.parent.name for path in site.glob("*/index.html")} >= pages | {"settings-reference"}


def test_the_site_names_every_key_of_the_settings(site: Path) -> None:
    page = (site / "settings-reference" / "index.html").read_text()
    for name, field in Settings.model_fields.items():
        assert re.search(rf"<code>{field.alias or name}\b", page), name


def test_the_site_fetches_nothing_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        assert not re.findall(r'(?:src|href)="(?:https?:)?//[^"]+\.(?:js|css|woff2?)', page.read_text()), page


@pytest.mark.parametrize("rules", ["rules.yml", "rules-prometheus-decides.yml"])
def test_every_alert_of_the_rules_has_its_runbook(rules: str) -> None:
    groups = yaml.safe_load((ROOT / "pipelines" / "prometheus" / rules).read_text())["groups"]
    links = {rule["annotations"]["runbook"] for group in groups for rule in group["rules"] if "alert" in rule}

    assert links
    for link in links:
        page, _, anchor = link.partition("#")
        assert anchor in anchors(page), link


def test_there_is_a_runbook_for_every_kind_and_every_cause() -> None:
    page = (DOCS / "runbooks.md").read_text()

    assert set(KINDS) <= anchors("docs/runbooks.md")
    assert set(CAUSES) == set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))


def commands() -> Iterator[tuple[str, list[str]]]:
    """Every command of ours in a block of shell, with its page."""
    for page in [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]:
        for block in re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                for part in re.findall(r"(?:^|&& |exec logproc )logproc (.*?)(?: [|>&#]|$)", line):
                    with_quotes = part if part.count('"') % 2 == 0 and part.count("'") % 2 == 0 else part.split()[0]
                    yield f"{page.name}: {line}", shlex.split(with_quotes)


def test_every_command_in_the_handbook_has_the_options_that_it_is_given() -> None:
    found = list(commands())

    assert len(found) > 40
    for where, words in found:
        command = typer.main.get_command(app)
        while words and hasattr(command, "commands") and not words[0].startswith("-"):
            command = command.commands.get(words.pop(0))
            assert command is not None, where
        known = {option for parameter in command.params for option in parameter.opts} | {"--help", "-h"}
        assert {word.split("=")[0] for word in words if word.startswith("--")} <= known, where
