"""A cluster on simulated time: real servers, but network, disks, threads and clock belong to the test.

    world = World(seed=7)
    world.name_server("192.0.2.9")
    master = world.broker("192.0.2.1", brokerRole="SYNC_MASTER")
    slave = world.broker("192.0.2.2", brokerRole="SLAVE", brokerId=1)
    world.run(5)                          # simulated seconds; nothing waits
    world.network.partition(master.host, slave.host)
    slave.cut_power()                     # what its disk had not synced may be gone
    world.network.heal()
    slave.start()

All that is left to chance comes out of `seed`, so a failing run is repeated by its number (and, as Python's
sets are ordered by hashes of strings, by the same PYTHONHASHSEED).
"""
