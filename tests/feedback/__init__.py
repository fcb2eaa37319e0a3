"""Tests of newsletter.feedback."""
