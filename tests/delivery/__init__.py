"""Tests of newsletter.delivery."""
