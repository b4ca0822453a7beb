"""What is evaluated: models, and what they are compared with, behind one protocol.

A system sees a record and delivers a layer. Judging it does not belong here (`metric`). Stands on `samples`.
"""
