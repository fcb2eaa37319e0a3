"""Takes mail in by LMTP or SMTP: the mail that comes back, and no other."""
