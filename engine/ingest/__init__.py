"""From a source of items to committed rows: decoding, embedding, writing."""
