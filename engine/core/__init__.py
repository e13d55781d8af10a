"""Vector columns, the graph of spaces and encoders, ranked lists, loaded encoders."""
