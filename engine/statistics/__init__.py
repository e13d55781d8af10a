"""What the planner knows: costs, recall curves, latencies and learned weights. Measured, then stored as JSON."""
