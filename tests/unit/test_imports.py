"""What is loaded when: the package and its help are light, and a missing extra is told by its name."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "wardline"
HEAVY = ("torch", "pydantic", "scipy", "sklearn", "pandas", "pandera", "pyarrow", "duckdb", "dp_accounting")
MODULES = sorted(
    ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__")
    for path in SOURCE.rglob("*.py")
    if path.name != "__main__.py"
)

BLOCK = """
import sys
blocked = set({blocked!r})
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ModuleNotFoundError("No module named " + repr(name), name=name)
sys.meta_path.insert(0, Block())
"""


def _extras() -> set[str]:
    """The top-level modules of every distribution that an extra brings and the base install does not."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    def names(requirements: list[str]) -> set[str]:
        return {re.split(r"[\[<>=!~; ]", one, maxsplit=1)[0].lower() for one in requirements}

    optional = set().union(*(names(one) for one in project["optional-dependencies"].values()))
    wanted = optional - names(project["dependencies"]) - {"wardline", "pytest", "pytest-xdist", "hypothesis"}
    found = {
        module
        for module, distributions in packages_distributions().items()
        if wanted & {one.lower() for one in distributions}
    }
    # What they bring in turn would be missing as well.
    return found | {"scipy", "pandas"}


def _python(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False)


def _loaded_after(script: str) -> set[str]:
    done = _python(script + "\nimport json, sys\nprint('\\n' + json.dumps(sorted(sys.modules)))")
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_importing_the_package_loads_nothing_heavy() -> None:
    loaded = _loaded_after("import wardline")
    assert loaded.isdisjoint(HEAVY)
    assert loaded.isdisjoint({"numpy", "click", "rich", "cryptography", "ruamel.yaml"})
    assert "torch" in _loaded_after("import wardline\nwardline.load"), "the control: what is asked for is loaded"


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["run", "--help"], ["explain", "WL-E301"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    script = f"""
import sys
sys.argv = ["wardline", *{arguments!r}]
from wardline.cli import main
try:
    main()
except SystemExit as stop:
    assert not stop.code, stop.code
"""
    assert _loaded_after(script).isdisjoint(HEAVY)


def test_the_module_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "wardline", "--help"], capture_output=True, text=True, check=True)
    assert "verify" in done.stdout
    assert done.stderr == ""


def test_every_module_imports_without_extras_or_says_which_one_is_missing() -> None:
    """Public rooms import, or name the extra; a module below them may miss a library of an extra, and no other."""
    blocked = _extras()
    assert {"torch", "duckdb", "psycopg", "pyarrow", "pyspark", "safetensors", "scipy", "sqlglot"} <= blocked
    assert blocked.isdisjoint({"numpy", "pydantic", "cryptography", "click"})
    script = BLOCK.format(blocked=sorted(blocked)) + (
        "import importlib, json\n"
        "from wardline.core import MissingExtraError\n"
        "told = {}\n"
        "for name in sys.argv[1:]:\n"
        "    try:\n"
        "        importlib.import_module(name)\n"
        "        told[name] = ['ok', '']\n"
        "    except MissingExtraError as error:\n"
        "        told[name] = ['extra', error.hint]\n"
        "    except ModuleNotFoundError as error:\n"
        "        told[name] = ['library', error.name]\n"
        "print(json.dumps(told))"
    )
    done = _python(script, *MODULES)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert set(told) == set(MODULES)
    rooms = {name for name in MODULES if name.count(".") <= 1}
    assert len(rooms) > 10
    for name, (outcome, what) in told.items():
        if name in rooms:
            assert outcome == "ok", name
        elif outcome == "extra":
            assert re.fullmatch(r"pip install 'wardline\[\w+\]'", what), name
        elif outcome == "library":
            assert what.partition(".")[0] in blocked, (name, what)


def test_every_public_name_is_there_or_names_its_extra() -> None:
    script = (
        "import importlib, json\n"
        "from wardline.core import MissingExtraError\n"
        "told = {}\n"
        "for room in sys.argv[1:]:\n"
        "    module = importlib.import_module(room)\n"
        "    for name in module.__all__:\n"
        "        try:\n"
        "            getattr(module, name)\n"
        "        except MissingExtraError as error:\n"
        "            told[room + '.' + name] = error.hint\n"
        "print(json.dumps(told))"
    )
    rooms = [name for name in MODULES if name.count(".") <= 1 and name not in {"wardline._version", "wardline.cli"}]
    without = _python(BLOCK.format(blocked=sorted(_extras())) + script, *rooms)
    assert without.returncode == 0, without.stderr
    missing = json.loads(without.stdout)
    assert missing["wardline.load"] == "pip install 'wardline[torch]'"
    assert missing["wardline.dp.train_dp"] == "pip install 'wardline[dp]'"
    assert "wardline.dp.Ledger" not in missing
    assert "wardline.evidence.verify_bundle" not in missing
    complete = _python("import sys\n" + script, *rooms)
    assert complete.returncode == 0, complete.stderr
    assert json.loads(complete.stdout) == {}, "with everything installed every public name is there"


def test_the_command_line_names_the_extra_and_does_not_call_it_a_defect(tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text("schema: 1\n")
    script = BLOCK.format(blocked=sorted(_extras())) + (
        f"sys.argv = ['wardline', 'run', '--dry-run', {str(policy)!r}]\nfrom wardline.cli import main\nmain()"
    )
    done = _python(script)
    assert done.returncode == 2, done.stderr
    assert "WL-E232" in done.stderr
    assert "hint: pip install 'wardline[" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_offered_name_is_never_a_module() -> None:
    # A function called like its module is hidden by it as soon as somebody imports the module.
    script = """
import importlib, json, types
rooms = json.loads({rooms!r})
found = []
for room in rooms:
    package = importlib.import_module(room)
    for _ in range(2):  # the second look is after everything was imported
        found += [
            f"{{room}}.{{name}}"
            for name in getattr(package, "__all__", ())
            if isinstance(getattr(package, name), types.ModuleType)
        ]
print(json.dumps(found))
"""
    rooms = [one for one in MODULES if (SOURCE.parent / one.replace(".", "/") / "__init__.py").exists()]
    done = _python(script.format(rooms=json.dumps(rooms)))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []
