"""Every configuration key of broker, store, remoting and NameServer, declared once."""
