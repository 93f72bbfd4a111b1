"""What the documentation names exists: commands, paths, the functions of ARCHITECTURE.md's walks, and links."""

import ast
import re
from pathlib import Path

import pytest
import typer

from charter.cli.app import app
from charter.cli.flows import FLOWS

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", *sorted((ROOT / "docs").glob("*.md"))]
PACKAGE = ROOT / "src" / "charter"
MADE_LATER = re.compile(r"outputs/|configs/mine|constitutions/(x|without-privacy|south)\.md")
"""Paths that a reader makes."""

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def names_of(path: Path) -> set[str]:
    """The functions and classes of a module, and ``Class.method``."""
    names = set[str]()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
            names |= {f"{node.name}.{inner.name}" for inner in ast.walk(node) if hasattr(inner, "name")}
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return names


def shell_lines(text: str) -> list[str]:
    """The commands of a page, in code blocks and in the text, without their comments."""
    return [line.strip() for line in re.findall(r"(?:^|[`(/ ])(charter [a-z][^`\n]*)", text, re.MULTILINE)]


@pages
def test_commands_exist(page: Path) -> None:
    commands = vars(typer.main.get_command(app))["commands"]
    missing = []
    for line in shell_lines(page.read_text(encoding="utf-8")):
        name = re.findall(r"[\w-]+", line)[1]
        inner = getattr(commands.get(name), "commands", None)  # of a group, such as `charter store`
        follows = re.match(rf"charter {name} ([a-z-]+)", line)
        if name not in commands or (inner and follows and follows[1] not in inner):
            missing.append(line)
    assert missing == []


@pages
def test_flows_and_targets_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    flows = {entry.module for entry in FLOWS.values()} | {"NAME", "X", "ui", "watch", "notify"}
    assert {name for name in re.findall(r"-m flows\.(\w+)", text) if name not in flows} == set()
    assert {name for name in re.findall(r"-m (tools\.[\w.]+\w)", text) if not module_file(name).is_file()} == set()
    assert {name for name in re.findall(r"\bmake ([a-z][a-z-]+)", code(text)) if f"\n{name}:" not in makefile} == set()


def module_file(name: str) -> Path:
    """The file of a module in the repository."""
    return ROOT.joinpath(*name.split(".")).with_suffix(".py")


def code(text: str) -> str:
    """The code blocks and code spans of a page."""
    return "\n".join(re.findall(r"```.*?```|`[^`\n]+`", text, re.DOTALL))


@pages
def test_paths_and_links_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    tops = "src|flows|tools|tests|docs|benchmarks|configs|constitutions|deploy"
    named = re.findall(rf"(?<![\w/.=-])((?:{tops})/[\w./-]*[\w/])", code(text))
    there = [path for path in named if any(ROOT.glob(path.rstrip("/") + "*"))]  # the name may end in a pattern
    missing = [path for path in named if path not in there and not MADE_LATER.match(path)]
    links = [link for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text) if "://" not in link]
    assert missing == []
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_modules_that_docs_name_can_be_found() -> None:
    named = {name for page in PAGES for name in re.findall(r"`(charter\.[\w.]+\w)`", page.read_text(encoding="utf-8"))}
    missing = []
    for name in sorted(named):
        parts = name.split(".")[1:]
        folder, module = PACKAGE.joinpath(*parts), PACKAGE.joinpath(*parts).with_suffix(".py")
        inside = PACKAGE.joinpath(*parts[:-1]).with_suffix(".py")
        package = PACKAGE.joinpath(*parts[:-1], "__init__.py")
        found = folder.is_dir() or module.is_file()
        found = found or any(
            path.is_file() and parts[-1] in path.read_text(encoding="utf-8") for path in (inside, package)
        )
        if not found and not name.startswith(
            ("charter.constitution.", "charter.monitor.", "charter.plugins", "charter.yaml", "charter.schema")
        ):
            missing.append(name)  # the exceptions are names of events, an entry point and files
    assert missing == []


@pytest.mark.parametrize(("title", "most"), [("The walk of one row", 40), ("The walk of one principle", 25)])
def test_each_station_of_a_walk_exists(title: str, most: int) -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    section = text.partition(f"## {title}")[2].partition("\n## ")[0]
    stations = re.findall(r"^(\d+)\. `([\w/]+\.py):([\w.]+)` — ", section, re.MULTILINE)
    assert [int(number) for number, _, _ in stations] == list(range(1, len(stations) + 1))
    assert len(re.findall(r"^\d+\. ", section, re.MULTILINE)) == len(stations) <= most
    for _, file, name in stations:
        path = (ROOT if file.startswith("flows/") else PACKAGE) / file
        assert path.is_file(), file
        assert name in names_of(path), f"{file}: {name}"


def test_paths_in_the_architecture_exist() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    tops = "|".join(path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__")
    named = re.findall(rf"`((?:{tops})/[\w./-]*)`", text)
    assert named
    assert [path for path in named if not (PACKAGE / path).exists()] == []


def test_the_table_of_layers_is_the_contract() -> None:
    contract = (ROOT / "pyproject.toml").read_text(encoding="utf-8").partition("layers = [")[2].partition("]")[0]
    layers = [set(re.findall(r"charter\.(\w+)|(flows)", line)) for line in contract.splitlines() if line.strip()]
    rows = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").partition("## Layers")[2].splitlines()
    cells = [row.split("|")[1] for row in rows if row.startswith("| `")][: len(layers)]
    shown = [set(re.findall(r"`(\w+)", cell)) for cell in cells]
    assert shown == [{name or flows for name, flows in layer} for layer in layers]
