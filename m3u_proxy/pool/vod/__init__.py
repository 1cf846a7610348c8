"""Files at a provider: a place of its own for each viewer."""
