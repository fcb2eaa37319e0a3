"""What comes back over HTTP: by the links of mails, and by customers who tell us."""
