"""docs/SERVERS.md says what the table says."""

from pathlib import Path

from pretune.reports import server_table


def test_the_page_is_what_the_table_gives() -> None:
    page = Path(__file__).parents[2] / "docs" / "SERVERS.md"
    assert page.read_text(encoding="utf-8") == server_table.render()
