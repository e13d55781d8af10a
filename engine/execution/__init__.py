"""Plans and their stages, the executor, and the results of a search."""
