"""Sending domains: the keys that sign a project's mail, and what stands in the DNS for them."""
