"""Tests of newsletter.llm."""
