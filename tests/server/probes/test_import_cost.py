"""What each package weighs, on packages that hold a known amount."""

import json
import subprocess
import sys
import textwrap

import pytest
from support.commands import BOOTSTRAP

MIB = 1 << 20
FILES = {
    "heavy/__init__.py": """
        import os
        held = os.urandom(20 << 20)
        assert type(__loader__).__name__ == "SourceFileLoader"
        assert __spec__.loader is __loader__
    """,
    "heavy/inner.py": "import os\nmore = os.urandom(5 << 20)\n",
    "light.py": "import heavy.inner\nown = bytearray(b'x') * (3 << 20)\n",
    "app.py": """
        import light
        import sqlite3  # with an extension of its own

        def make():
            global made
            made = bytearray(b"x") * (7 << 20)
            def application(environ, start_response):
                return []
            return application

        application = make()
    """,
    "factory.py": """
        def make():
            global made
            made = bytearray(b"x") * (7 << 20)
            def application(environ, start_response):
                return []
            return application
    """,
    "broken.py": "import heavy\nimport nowhere\n",
}


@pytest.fixture
def inspect(tmp_path):
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(textwrap.dedent(text))

    def run(target):
        line = [sys.executable, BOOTSTRAP, "inspect", target, "--chdir", tmp_path]
        done = subprocess.run(line, capture_output=True, text=True, timeout=60)
        return json.loads(done.stdout)

    return run


def test_each_package_has_its_own_part_and_what_it_imported(inspect):
    found = inspect("app")["boot_memory"]
    rows = {row["package"]: row for row in found["packages"]}
    near = {
        "heavy": (25, 25, 2),
        "light": (3, 28, 1),
        "app": (7, 35, 1),
    }
    for name, (own, whole, modules) in near.items():
        row = rows[name]
        assert own <= row["anon_bytes"] / MIB <= own + 1.5, name
        assert whole <= row["whole_anon_bytes"] / MIB <= whole + 4, name
        assert row["rss_bytes"] >= row["anon_bytes"]
        assert row["modules"] == modules
        assert not row["standard_library"]
        assert 0 < row["seconds"] <= row["whole_seconds"]
    assert rows["sqlite3"]["standard_library"]
    # A library that an extension links lies in pages of files.
    assert rows["_sqlite3"]["rss_bytes"] > rows["_sqlite3"]["anon_bytes"]


@pytest.mark.parametrize("key", ["rss_bytes", "anon_bytes"])
def test_the_parts_add_up_to_the_process(inspect, key):
    found = inspect("app")["boot_memory"]
    parts = [found["interpreter"], found["elsewhere"], *found["packages"]]
    assert sum(part[key] for part in parts) == found["process"][key]


def test_what_a_factory_makes_is_outside_of_imports(inspect):
    found = inspect("factory:make()")["boot_memory"]
    assert 7 <= found["elsewhere"]["anon_bytes"] / MIB <= 8.5
    assert found["returned_bytes"] >= 0


def test_a_failed_import_is_told_as_without_the_scales(inspect):
    found = inspect("broken")
    assert found["kind"] == "import_error"
    assert found["missing"] == "nowhere"
    assert "import_cost" not in found["traceback"]
