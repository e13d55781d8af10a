"""Statistics of the planner: costs, recall curves, latencies and learned weights. Measured, then stored as JSON."""
