"""What a client of ``mailrivo.txt`` reads back: its interaction stream and its telemetry."""
