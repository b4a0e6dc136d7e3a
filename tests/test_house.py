"""The arrows between the parts, read from the sources, so that they hold while the house grows."""

import ast
import re

import pytest

from helpers import CHECKOUT, run_python

ENTRY_SCRIPTS = ("training", "test")
PARTS = ("blitznet", "datasets", "tools")


def sources(*roots):
    """The Python files at or below the given paths of the checkout, those that exist, sorted."""
    found = []
    for root in (CHECKOUT / name for name in roots):
        found += [root] if root.is_file() else root.rglob("*.py")
    return sorted(found)


def named(paths):
    """Parameters for `paths`, each shown by its place in the checkout."""
    return [pytest.param(path, id=str(path.relative_to(CHECKOUT))) for path in paths]


PRODUCT = sources(*PARTS, *(path.name for path in CHECKOUT.glob("*.py")))
EVERYTHING = PRODUCT + sources("tests")


def imports(source, package=""):
    """Dotted names that a module's source imports anywhere, relative ones completed by `package`.

    `from a import b` counts as `a.b`: whether b is a module or a name in a, the arrow goes to it.
    """
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1]
            start = ".".join([*base, *filter(None, [node.module])]) if node.level else node.module
            names |= {f"{start}.{alias.name}" for alias in node.names}
    return names


def imports_of(path):
    """`imports` of a file of the checkout."""
    package = ".".join(path.relative_to(CHECKOUT).parent.parts)
    return imports(path.read_text(encoding="utf-8"), package)


def within(name, parts):
    """Whether the dotted name is one of `parts` or lies below one."""
    return any(name == part or name.startswith(part + ".") for part in parts)


def offenders(path, parts):
    """The imports of a file that reach any of `parts`, sorted for a readable failure."""
    return sorted(name for name in imports_of(path) if within(name, parts))


def dotted_attributes(source):
    """Every attribute chain on a plain name in a source, such as `tf.keras.layers.Conv2D`."""
    return {
        ast.unparse(node)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute) and not isinstance(node.value, ast.Call)
    }


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import a.b, c as d", {"a.b", "c"}),
        ("from a.b import c, d", {"a.b.c", "a.b.d"}),
        ("from . import boxes", {"blitznet.losses.boxes"}),
        ("from ..boxes import iou", {"blitznet.boxes.iou"}),
        ("def late():\n    import config", {"config"}),
        ("'import config'", set()),
    ],
)
def test_the_reader_sees_absolute_relative_and_late_imports(source, expected):
    assert imports(source, "blitznet.losses") == expected


@pytest.mark.parametrize("path", named(sources("blitznet")))
def test_blitznet_knows_nothing_of_flags_paths_and_scripts(path):
    outside = ("config", "paths", "datasets", "tools", "tests", "argparse", *ENTRY_SCRIPTS)
    assert offenders(path, outside) == []


_SHARED = ("boxes", "priors", "coding", "imaging", "keys", "label_map", "opencv")


@pytest.mark.parametrize("path", named(sources("datasets")))
def test_datasets_take_geometry_pixels_keys_and_label_maps_from_blitznet_and_no_more(path):
    allowed = [f"blitznet.{name}" for name in _SHARED]
    beyond = [name for name in offenders(path, ["blitznet"]) if not within(name, allowed)]
    assert beyond == []
    assert offenders(path, ("config", "paths", "tools", "argparse", *ENTRY_SCRIPTS)) == []


@pytest.mark.parametrize("path", named(PRODUCT))
def test_nobody_imports_the_entry_scripts(path):
    assert offenders(path, ENTRY_SCRIPTS) == []


@pytest.mark.parametrize("path", named(EVERYTHING))
def test_only_the_public_keras_that_two_generations_share(path):
    private = ("tensorflow.python", "tensorflow.compiler", "tensorflow.core", "keras")
    assert offenders(path, private) == [], "private, or not through `from tensorflow import keras`"
    assert offenders(path, ("tensorflow.keras.src", "tensorflow.keras.ops")) == []
    only_three = ("keras.ops", "tf.keras.ops", "keras.src", "tf.keras.src", "tf.python")
    used = dotted_attributes(path.read_text(encoding="utf-8"))
    assert sorted(name for name in used if within(name, only_three)) == []


@pytest.mark.parametrize("path", named(sources("blitznet/metrics")))
def test_metrics_name_no_tensorflow(path):
    assert offenders(path, ("tensorflow", "keras")) == []


def modules(path):
    """Dotted import names of the modules at or below a path of the checkout."""
    relative = [file.relative_to(CHECKOUT).with_suffix("") for file in sources(path)]
    return [".".join(part for part in name.parts if part != "__init__") for name in relative]


@pytest.mark.parametrize("path", ["blitznet/metrics", "config.py", "paths.py"])
def test_tensorflow_stays_out_indirectly_too(path):
    """In a fresh Python, importing these modules loads TensorFlow at no depth."""
    if not modules(path):
        pytest.skip(f"{path} does not exist")
    lines = [f"import {name}" for name in modules(path)]
    lines += ["import sys", "print(sorted({'tensorflow', 'keras'} & set(sys.modules)))"]
    assert run_python("-c", "\n".join(lines)).strip() == "[]"


def is_declaration(node):
    """Whether a top-level statement only declares: import, def, class, constant, main guard."""
    if isinstance(node, (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)):
        return True
    if isinstance(node, ast.If):
        return ast.unparse(node.test) == "__name__ == '__main__'" and not node.orelse
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    if isinstance(node, (ast.Assign, ast.AnnAssign)):
        return not any(isinstance(part, ast.Call) for part in ast.walk(node))
    return False


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("'''text'''", True),
        ("RATES = (1e-3, 1e-4)", True),
        ("if __name__ == '__main__':\n    main()", True),
        ("FLAGS = parse()", False),
        ("main()", False),
        ("if True:\n    main()", False),
    ],
)
def test_declarations_are_told_from_running_code(statement, expected):
    assert is_declaration(ast.parse(statement).body[0]) is expected


@pytest.mark.parametrize("path", named(sources("training.py", "test.py")))
def test_importing_a_script_runs_nothing(path):
    """test.py shadows the stdlib's `test`, so that anyone may import it by accident."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    running = [f"line {node.lineno}: {ast.unparse(node)}" for node in body]
    assert [text for text, node in zip(running, body) if not is_declaration(node)] == []


def folders(*roots):
    """The folders at or below the given ones that hold Python files."""
    return sorted({path.parent for path in sources(*roots)})


@pytest.mark.parametrize("folder", named(folders(*PARTS)))
def test_no_folder_is_an_empty_package(folder):
    """A package holds a module, or its `__init__.py` has content of its own."""
    init = folder / "__init__.py"
    others = [path for path in folder.rglob("*.py") if path != init]
    assert others or init.read_text(encoding="utf-8").strip()


@pytest.mark.parametrize("folder", named(folders("blitznet")))
def test_setup_finds_every_package_of_blitznet(folder):
    """`find_packages` in setup.py leaves out a folder without `__init__.py`."""
    assert (folder / "__init__.py").is_file()


def test_tests_are_flat():
    """A folder such as tests/datasets would shadow datasets/."""
    nested = [path for path in sources("tests") if path.parent != CHECKOUT / "tests"]
    assert [path for path in nested if "fixtures" not in path.parts] == []


@pytest.mark.parametrize("name", ["README.md", "NOTES.md"])
def test_texts_are_finished_and_link_to_what_exists(name):
    text = (CHECKOUT / name).read_text(encoding="utf-8")
    assert re.findall(r"@[A-Z_]+@", text) == []
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    links = re.findall(r"\]\(([^)#]+)\)", prose)
    local = [link for link in links if not link.startswith("http")]
    assert [link for link in local if not (CHECKOUT / link).exists()] == []
