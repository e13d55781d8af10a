"""The client: a collection on a server, with the methods and results of one in a folder: ``quiver.connect``."""
