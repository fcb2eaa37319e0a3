"""Tests of newsletter.providers."""
