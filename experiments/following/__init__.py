"""Following a path by naming goals on it: experiment E1 of MRS."""
