"""Automations: what starts a run for a subscriber, and the steps that the run takes."""
