"""The files around the package agree with each other."""

import itertools
import os
import re
import subprocess
import tomllib

import pytest
import yaml

from labelreg.paths import project_root

ROOT = project_root()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def project_files() -> list[str]:
    """Everything in the checkout that git does not ignore, as paths from its root."""
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    finished = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True)
    if finished.returncode:
        pytest.skip("not a git checkout")
    return [name for name in finished.stdout.splitlines() if (ROOT / name).exists()]


def loaded(name: str):
    return yaml.safe_load((ROOT / name).read_text())


class TestEnvironment:
    def test_conda_installs_every_extra_for_the_same_pythons(self):
        *dependencies, pip = loaded("environment.yml")["dependencies"]
        (requirement,) = pip["pip"]
        extras = re.fullmatch(r"-e \.\[(.+)\]", requirement)[1].split(",")
        assert set(extras) == set(PROJECT["optional-dependencies"])
        assert {f"python{PROJECT['requires-python']}", "pip"} <= set(dependencies)

    def test_lock_file_names_every_requirement(self):
        packages = tomllib.loads((ROOT / "uv.lock").read_text())["package"]
        (locked,) = (package for package in packages if package["name"] == PROJECT["name"])
        requirements = {(entry["name"], entry.get("specifier", "")) for entry in locked["metadata"]["requires-dist"]}
        written = itertools.chain(PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
        assert requirements == {re.fullmatch(r"([\w-]+)(.*)", each).groups() for each in written}

    def test_hooks_run_tools_of_the_environment(self):
        (repository,) = loaded(".pre-commit-config.yaml")["repos"]
        tools = {re.match(r"\.venv/bin/(\S+)", hook["entry"])[1] for hook in repository["hooks"]}
        assert tools <= {re.match(r"[\w-]+", each)[0] for each in PROJECT["optional-dependencies"]["dev"]}


def test_citation_and_changelog_know_the_version():
    citation = loaded("CITATION.cff")
    assert (citation["version"], citation["license"]) == (PROJECT["version"], PROJECT["license"])
    assert f"\n## {PROJECT['version']}\n" in (ROOT / "CHANGELOG.md").read_text()


def make(*arguments: str) -> str:
    finished = subprocess.run(["make", *arguments], cwd=ROOT, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


class TestCommands:
    @pytest.mark.parametrize(
        ("target", "commands"),
        [
            ("env", ["sync --frozen --all-extras --compile-bytecode"]),
            ("lint", ["ruff check .", "ruff format --check .", "lint-imports"]),
            ("test", ["ruff check .", "lint-imports", "pytest -n 2"]),
            ("format", ["ruff format .", "nbstripout --keep-id"]),
            ("notebooks", ["papermill --cwd notebooks"]),
            ("book", ["--no-progress-bar  {}", "--path-output . --all --warningiserror --nitpick"]),
            ("small-book", ["--no-progress-bar -p seeds 2", "--path-output _build/small --all --warningiserror"]),
            ("check-book", ["LABELREG_BOOK=_build/small/_build/html", "tests/browser"]),
            ("clean", ["rm -rf _build"]),
        ],
    )
    def test_make_lists_the_target_and_knows_what_to_run(self, target, commands):
        planned = make("--dry-run", "--always-make", target)
        assert [command for command in commands if command not in planned] == []
        assert re.search(rf"^make {target} +\w", make("help"), re.M)

    def test_continuous_integration_is_a_sound_script_that_stops_at_failures(self):
        script = ROOT / ".ci" / "run"
        assert os.access(script, os.X_OK)
        assert subprocess.run(["bash", "-n", script]).returncode == 0
        lines = script.read_text().splitlines()
        assert lines[0] == "#!/usr/bin/env bash"
        assert "set -euo pipefail" in lines


class TestBook:
    def test_every_notebook_and_page_is_in_the_table_of_contents_once(self):
        contents = loaded("_toc.yml")
        listed = [contents["root"]] + [page["file"] for part in contents["parts"] for page in part["chapters"]]
        pages = [*ROOT.glob("book/*.md"), *ROOT.glob("notebooks/*.ipynb")]
        assert sorted(listed) == sorted(f"{path.parent.name}/{path.stem}" for path in pages)

    def test_every_module_is_in_the_reference(self):
        documented = re.findall(r"^   labelreg\.(\w+)$", (ROOT / "book" / "api.md").read_text(), re.M)
        modules = {path.stem for path in (ROOT / "labelreg").glob("[a-z]*") if path.suffix == ".py" or path.is_dir()}
        assert sorted(documented) == sorted(modules - {"cli"})

    def test_nothing_comes_from_a_cache_or_the_net_and_no_failure_is_passed_over(self):
        configuration = loaded("_config.yml")
        assert configuration["execute"]["execute_notebooks"] == "force"
        assert configuration["sphinx"]["config"]["nb_execution_raise_on_error"] is True
        assert "offline_mathjax" in configuration["sphinx"]["config"]["extensions"]

    def test_every_citation_is_in_the_bibliography(self):
        known = set(re.findall(r"^@\w+\{([^,]+),", (ROOT / "book" / "references.bib").read_text(), re.M))
        pages = [*ROOT.glob("book/*.md"), *ROOT.glob("notebooks/*.ipynb")]
        roles = [role for page in pages for role in re.findall(r"\{cite(?::\w+)?\}`([^`]+)`", page.read_text())]
        assert {key.strip() for role in roles for key in role.split(",")} <= known


def test_no_file_knows_the_machine_it_was_written_on():
    machine = re.compile(rf"(?<![\w.])/(?:{'|'.join(['home', 'root', 'tmp', 'work', 'Users'])})/\w")
    texts = {name: (ROOT / name).read_bytes() for name in project_files()}
    found = {
        name: match[0]
        for name, content in texts.items()
        if b"\0" not in content and (match := machine.search(content.decode(errors="replace")))
    }
    assert found == {}
