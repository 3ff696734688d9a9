"""The tool on applications of others, from the package index: the right pages, and true answers."""
