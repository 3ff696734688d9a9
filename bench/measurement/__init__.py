"""How true the measurement is, and what it costs: known truth against what the tool says."""
