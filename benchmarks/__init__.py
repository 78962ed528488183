"""Each module measures one thing against what a user would pick instead, in the same run; see README.md."""
