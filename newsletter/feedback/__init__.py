"""What comes back from a mail: unsubscribes, bounces, complaints."""
