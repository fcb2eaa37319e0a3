"""Tests of newsletter.sandbox."""
