"""Commands: twistd plugins' makers, launchers, tools."""
