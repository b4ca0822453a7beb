"""The addresses: one module for each group of them. Each reads with `request`, acts on the service, and answers with `answer`."""
