"""Campaigns: draft, scheduled, sending, sent."""
