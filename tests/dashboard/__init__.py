"""Tests of newsletter.dashboard."""
