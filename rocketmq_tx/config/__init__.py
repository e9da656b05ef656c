"""Every configuration key of broker, store, remoting and NameServer, declared once.

`settings.load_broker` and `settings.load_namesrv` read a file into mutable settings objects;
`update.apply_update` changes them while the daemon runs; `listing` prints them.
"""
