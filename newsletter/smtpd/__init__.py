"""Takes mail in by LMTP or SMTP: what comes back, and what customers' programs send."""
