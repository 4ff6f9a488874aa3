"""Entry points: the only place where everything meets. They share `cli` and do not import one another."""
