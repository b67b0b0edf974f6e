"""Models in this process: on transformers or on vLLM."""
