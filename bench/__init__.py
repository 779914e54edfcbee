"""What Rejoinder costs: server CPU per relayed token and added time, beside others, all in one run.

`python -m bench --help` tells how it is run, `docs/performance.md` how it is read. The way through the files: `run`
starts the `contestants` and asks each of them in turn, `load` reads the answers, `recording` says what was in them,
`figures` what that makes, and `report` shows it. `loads` lists what is put on them, `goals` what is to be reached;
`readers` and `growth` measure what is no relay, `everything` runs all of it, and `plot` draws it.
"""
