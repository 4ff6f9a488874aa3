"""What entry points share: flags and configs, saved agents, and the set-up of online runs."""
