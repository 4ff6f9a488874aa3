"""Several devices and several hosts: sharding, joining hosts, and the watchdog between their processes."""
