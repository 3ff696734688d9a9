"""Today's deployment: the server and settings that the project's own files start it with.

Pure readers, one for each kind of file, from text to commands; ``invocation`` and ``grammar`` turn
a command into a server and settings by gunicorn's names; ``looking`` finds the files. Only
``looking`` and ``conf`` touch the world. Nothing here raises for what a file holds: what could not
be read is said.
"""
