"""Plumbing without business words; nothing here knows what a newsletter is."""
