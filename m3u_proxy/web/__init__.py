"""HTTP in: players, editors, operators."""
