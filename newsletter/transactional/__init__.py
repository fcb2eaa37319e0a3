"""One message now: single mails, and what became of each."""
