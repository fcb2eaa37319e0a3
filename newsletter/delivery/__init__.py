"""Mailings, batches, messages, and the ledger of their outcomes."""
