"""Tests of newsletter.kit."""
