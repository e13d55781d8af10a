"""From a query to a plan: routes, access paths, scorers and rerankers. Imports no model and no index."""
