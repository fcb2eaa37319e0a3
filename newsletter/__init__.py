"""An AI newsletter service: a topic goes in, newsletters arrive."""

__version__ = "0.1.0"
