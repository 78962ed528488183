"""Tests of archives and replay."""
