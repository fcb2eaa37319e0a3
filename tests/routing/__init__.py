"""Sending servers, rules, limits, breakers, and the router over real servers."""
