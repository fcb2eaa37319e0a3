"""Brand voice and generation: what is asked of a language model, and what is believed of its answer."""
