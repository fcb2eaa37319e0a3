"""Tests of newsletter.copywriting."""
