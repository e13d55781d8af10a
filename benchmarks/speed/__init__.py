"""How fast, how fresh, how close to what was promised: timings of the engine."""
