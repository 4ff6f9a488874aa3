"""Many runs at once, here or on a cluster. Knows nothing of what runs: it starts commands."""
