"""Segments: named conditions on the subscribers of a list, evaluated whenever they are used."""
