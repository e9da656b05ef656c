"""The NameServer: brokers register routes here, clients look them up."""
