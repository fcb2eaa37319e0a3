"""What is counted, read back."""
