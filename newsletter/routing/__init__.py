"""Sending servers, and which of them takes a mail now."""
