"""New plugin projects, written from templates."""
