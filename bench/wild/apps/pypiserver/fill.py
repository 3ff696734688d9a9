"""20 packages of 5 versions each: archives that are none, as an index does not open them."""

from pathlib import Path

Path("packages").mkdir()
for package in range(20):
    for version in range(5):
        name = f"package_{package}-1.{version}-py3-none-any.whl"
        Path("packages", name).write_bytes(b"x" * 20_000)
