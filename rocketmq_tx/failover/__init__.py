"""Fail-over: epochs of masters, what a broker promises about its log, and who may take over."""
