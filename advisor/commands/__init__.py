"""One module per command; imported only when its command runs, so that ``--help`` stays quick."""
