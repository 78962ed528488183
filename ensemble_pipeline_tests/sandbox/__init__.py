"""Tests of the sandbox, over real HTTP wherever a wire format is meant."""
