"""Every path that the documents name exists."""

import re
from itertools import product
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = REPOSITORY / "bitjets_mlx"
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "docs/architecture.md", "docs/adding.md", "SECURITY.md")
ROOTS = sorted({path.name for path in (*REPOSITORY.iterdir(), *PACKAGE.iterdir()) if path.is_dir()})
PATH = re.compile(rf"(?:\./)?(?:{'|'.join(map(re.escape, ROOTS))})/[\w./{{}},-]*|[\w/]+\.(?:py|md|sh|c|toml)")


def expanded(path: str) -> list[str]:
    """a/{b,c}.py -> a/b.py, a/c.py."""
    parts = re.split(r"\{([^}]*)\}", path)
    choices = [part.split(",") if index % 2 else [part] for index, part in enumerate(parts)]
    return ["".join(chosen) for chosen in product(*choices)]


def in_tree(text: str) -> list[str]:
    """The paths of a drawn tree: two spaces a level, names up to two spaces, then what they hold."""
    found, folders = [], [""]
    for line in text.splitlines():
        level = (len(line) - len(line.lstrip())) // 2
        for name in re.split(r"\s{2,}", line.strip())[0].split():
            found.append(folders[level] + name)
            if name.endswith("/"):
                folders[level + 1 :] = [folders[level] + name]
    return found


def named(text: str) -> set[str]:
    """Paths in code spans and links of Markdown."""
    prose = re.sub(r"^ *```.*?^ *```", "", text, flags=re.DOTALL | re.MULTILINE)
    spans = [span for span in re.findall(r"`([^`]+)`", prose) if PATH.fullmatch(span)]
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", prose) if "://" not in link]
    return {path for span in (*spans, *links) for path in expanded(span)}


def exists(path: str, document: Path) -> bool:
    return any((folder / path).exists() for folder in (REPOSITORY, PACKAGE, document.parent))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_path_in_a_document_exists(name: str) -> None:
    document = REPOSITORY / name
    paths = named(document.read_text())
    assert len(paths) > 2
    assert {path for path in paths if not exists(path, document)} == set()


def test_every_path_in_the_tree_exists() -> None:
    section = (REPOSITORY / "README.md").read_text().split("## Where things are")[1]
    tree = section.split("```")[1].strip("\n")
    paths = in_tree(tree)
    assert len(paths) > 50
    assert [path for path in paths if not (REPOSITORY / path).exists()] == []


def test_the_tree_names_every_room() -> None:
    tree = (REPOSITORY / "README.md").read_text().split("## Where things are")[1]
    rooms = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert {room for room in rooms if f"  {room}/" not in tree} == set()
