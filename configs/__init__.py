"""Settings of experiments, one file each, found by name: `--config=digits`.

The folder stands at the top of the repository; `dm_jax/configs` is a link to
it, so that the installed package has them, too. A file lists what differs from
`default`; may import `run` and what is below it.
"""
