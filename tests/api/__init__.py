"""Tests of newsletter.api."""
