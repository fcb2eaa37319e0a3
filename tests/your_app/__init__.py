"""What a client of ``your-app.txt`` does, one test for each operation of that page that is here."""
