"""How returned mails are read."""
