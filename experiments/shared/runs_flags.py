"""Flags of entry points that read several runs and write a page of them. Importing it defines them."""

from absl import flags

flags.DEFINE_multi_string("runs", [], "folders of runs, as a shell pattern in quotes; may be given several times")
