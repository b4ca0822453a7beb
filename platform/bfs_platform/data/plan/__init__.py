"""What a build will do: records cut into units, what is known of each, pace and capacity.

Nothing here reads a picture. Stands on `source`.
"""
