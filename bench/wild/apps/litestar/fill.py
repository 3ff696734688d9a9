"""A table of 2,000 notes with 20 tags."""

import asyncio
import os

import asyncpg


async def main():
    database = await asyncpg.connect(os.environ["DATABASE_URL"])
    await database.execute(
        "CREATE TABLE note (id serial PRIMARY KEY, title text, tag text, body text)"
    )
    rows = [(f"Note {n}", f"tag-{n % 20}", "What it says. " * 30) for n in range(2000)]
    await database.copy_records_to_table("note", records=rows, columns=["title", "tag", "body"])
    await database.execute("CREATE INDEX ON note (tag); ANALYZE note")
    await database.close()


asyncio.run(main())
