"""Training tasks from data sets, folders and tables."""
