"""Everything a person or a machine reads: terminal, HTML, JSON, deployable configuration."""
