"""Every option of a run, by what it is of; `lst.config` puts them together."""
