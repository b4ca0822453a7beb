"""The platform: data, training, tracking, registry, evaluation, configuration. Ray lives here."""
