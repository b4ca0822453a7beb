"""The BFS docker of Krita: select a place, say what shall stand there, and get it as a layer with its shadow and reflection.

Runs in Krita's own Python (3.8 in Krita 5.0), so: the standard library and PyQt5 alone, and nothing else of BFS.
"""

from krita import DockWidgetFactory, DockWidgetFactoryBase, Krita

from .docker import Docker

Krita.instance().addDockWidgetFactory(DockWidgetFactory("bfs", DockWidgetFactoryBase.DockRight, Docker))
