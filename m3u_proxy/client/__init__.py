"""Hands for people: subcommands that speak to a running daemon through its HTTP API."""
