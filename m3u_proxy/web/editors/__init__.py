"""Editors over REST: streams, channels, webhooks, and what they try out."""
