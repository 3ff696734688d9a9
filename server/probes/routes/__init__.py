"""Routes of an application, read from its framework's own tables: readers.py is where to begin."""
