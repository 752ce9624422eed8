"""From text to token vectors: tokenising, composing the encoder's input, running the encoder, caching its output."""
