"""The files a `LayerStack` is kept in, one module each: zip, PSD, OpenRaster, PNG.

Bytes to layers and back, nothing trusted; each module names itself in `FORMAT`. Which format a path means does not belong
here (`document.file`). Stands on the layers of `document`.
"""
