"""Answers and pages made up at random, with what is known of them beforehand; `make test-all` takes thousands."""
