"""Tests of newsletter.webhooks."""
