"""A repository of a home page that links to 24 others in two folders."""

import subprocess
from pathlib import Path

pages = Path("pages")
names = [f"{folder}/page{number}" for folder in ("guide", "notes") for number in range(12)]
for name in names:
    file = pages / f"{name}.md"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"# {name}\n\n" + "Some *text* with `code`.\n\n" * 30)
links = "\n".join(f"- [{name}](/{name.title()})" for name in names)
(pages / "home.md").write_text(f"# Welcome\n\n{links}\n")
git = ["git", "-c", "user.name=bench", "-c", "user.email=bench@example.org"]
subprocess.run([*git, "init", "-q", str(pages)], check=True)
subprocess.run([*git, "-C", str(pages), "add", "."], check=True)
subprocess.run([*git, "-C", str(pages), "commit", "-q", "-m", "Pages"], check=True)
