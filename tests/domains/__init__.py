"""Sending domains, and signatures read by another implementation."""
