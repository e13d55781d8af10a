"""One request to one answer: batching, planning, execution, paging."""
