"""Customers' endpoints: fan out, sign, attempt, retry, dead letters."""
